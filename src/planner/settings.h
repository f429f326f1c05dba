/* settings.h - from the words of the options to what the job does; every word is checked before any
 * work. */
#ifndef OXP_PLANNER_SETTINGS_H
#define OXP_PLANNER_SETTINGS_H

#include "planner/compress.h"

oxp_status oxp_settings_resolve(oxp_compression *c);
/* One line with everything that was resolved, through the log. */
void oxp_settings_log(const oxp_compression *c);

#endif
