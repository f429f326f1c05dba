/* settings.h - from the words of the options to what the job does; every word is checked before any
 * work. */
#ifndef OXP_PLANNER_SETTINGS_H
#define OXP_PLANNER_SETTINGS_H

#include "planner/compress.h"

typedef enum oxp_equalize_mode {
    OXP_EQUALIZE_AUTO, /* where it measurably helps */
    OXP_EQUALIZE_ON,
    OXP_EQUALIZE_OFF
} oxp_equalize_mode;

oxp_equalize_mode oxp_settings_equalize(const oxp_compression *c);

oxp_status oxp_settings_resolve(oxp_compression *c);
/* One line with everything that was resolved, through the log. */
void oxp_settings_log(const oxp_compression *c);

#endif
