/* plan_file.c - a plan read back: JSON with "plan": {"weight name": "form"}, keys exact names or
 * globs, an exact name before a glob, among globs the later one. Where the file says which model
 * and which samples it was made for, these must be the ones at hand. */
#include <jansson.h>
#include <string.h>

#include "planner/compress_steps.h"
#include "planner/plan.h"

#define FILE_BYTES_MAX ((size_t)64 << 20)

typedef struct plan_file {
    oxp_compression *c;
    const char *path;
    json_t *root;
} plan_file;

static oxp_status malformed(const plan_file *f, const char *what, const char *name)
{
    char quoted[OXP_QUOTED_MAX];
    return oxp_fail(f->c->ctx, OXP_EFORMAT, "E-PLAN", "%s: %s %s", f->path, what,
                    oxp_quote(quoted, name));
}

static oxp_status parse(plan_file *f)
{
    uint8_t *bytes;
    size_t size;
    json_error_t error;
    oxp_file_id id;
    OXP_TRY(oxp_file_read(&bytes, &size, f->c->ctx, f->path, FILE_BYTES_MAX, OXP_EFORMAT, &id));
    f->root = json_loadb((const char *)bytes, size, JSON_REJECT_DUPLICATES, &error);
    oxp_free(bytes);
    if (!f->root)
        return malformed(f, "no JSON:", error.text);
    if (!json_is_object(json_object_get(f->root, "plan")))
        return malformed(f, "expected an object under", "plan");
    return OXP_OK;
}

/* "what": {"xxh3": …} against a hash; absent: nothing is promised. */
static oxp_status check_hash(const plan_file *f, const char *what, uint64_t hash, const char *at)
{
    char hex[17];
    const json_t *object = json_object_get(f->root, what), *value = json_object_get(object, "xxh3");
    if (!value)
        return OXP_OK;
    if (!json_is_string(value))
        return malformed(f, "expected a text under xxh3 of", what);
    oxp_hash_hex(hex, hash);
    if (strcmp(json_string_value(value), hex) == 0)
        return OXP_OK;
    char quoted[OXP_QUOTED_MAX];
    return oxp_fail(f->c->ctx, OXP_EDATA, "E-PLAN-HASH",
                    "%s: the plan was made for another %s: xxh3 %s, found %s (%s)", f->path, what,
                    oxp_quote(quoted, json_string_value(value)), hex, at ? at : "none");
}

static oxp_status check_hashes(const plan_file *f)
{
    const oxp_compression *c = f->c;
    OXP_TRY(check_hash(f, "model", oxp_model_hash(c->source), c->model_path));
    bool given = c->has_samples && c->samples.dataset;
    return check_hash(f, "data", given ? oxp_samples_hash(&c->samples) : 0, c->options->data);
}

/* The value for a weight, NULL where no key names it. */
static const char *find(const plan_file *f, const char *name)
{
    const char *key;
    json_t *value, *plan = json_object_get(f->root, "plan"), *exact = json_object_get(plan, name);
    const char *found = json_string_value(exact);
    json_object_foreach(plan, key, value)
    {
        if (!exact && oxp_glob(key, name))
            found = json_string_value(value);
    }
    return found;
}

static oxp_status check_keys(const plan_file *f)
{
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(f->root, "plan"), key, value)
    {
        bool any = false;
        for (size_t i = 0; i < f->c->site_count && !any; i++)
            any = strcmp(key, f->c->sites[i].value->name) == 0 ||
                  oxp_glob(key, f->c->sites[i].value->name);
        if (!any)
            return malformed(f, "no weight of the model matches", key);
        if (!json_is_string(value))
            return malformed(f, "expected a form as text for", key);
    }
    return OXP_OK;
}

static oxp_status set_site(const plan_file *f, size_t site)
{
    oxp_compression *c = f->c;
    const oxp_site *s = &c->sites[site];
    const char *text = find(f, s->value->name), *fault = NULL;
    char form[OXP_QUOTED_MAX], name[OXP_QUOTED_MAX];
    oxp_choice choice = oxp_plan_choice_read(text ? text : "float", &fault);
    if (!fault)
        oxp_plan_choice_applies(s, &choice, &fault);
    if (fault)
        return oxp_fail(c->ctx, OXP_EFORMAT, "E-PLAN", "%s: %s for %s: %s", f->path,
                        oxp_quote(form, text), oxp_quote(name, s->value->name), fault);
    oxp_plan_set(c, site, &choice);
    return OXP_OK;
}

static oxp_status use(plan_file *f)
{
    OXP_TRY(parse(f));
    OXP_TRY(check_hashes(f));
    OXP_TRY(check_keys(f));
    for (size_t i = 0; i < f->c->site_count; i++)
        OXP_TRY(set_site(f, i));
    return oxp_compression_fit(f->c);
}

oxp_status oxp_plan_read(oxp_compression *c)
{
    plan_file f = {.c = c, .path = c->options->plan};
    c->plan->path = f.path;
    oxp_status status = use(&f);
    json_decref(f.root);
    return status;
}
