/* What roles and users have in common: inline policies and tags. */
#pragma once

#include "server/iam/query.h"

typedef struct {
    const char *kind;      /* "role", as in messages, ARNs and columns */
    const char *title;     /* "Role" */
    const char *parameter; /* "RoleName" */
    const char *table;
    const char *policies; /* table */
    const char *tags;     /* table */
    int max_policy_chars; /* of all inline policies together */
} KvgEntity;
extern const KvgEntity kvg_entity_role, kvg_entity_user;

/* The name the call gives if there is such a role or user; else NULL, and the call failed. */
const char *kvg_entity_need(KvgQuery *q, const KvgEntity *entity);
void kvg_entity_put_policy(KvgQuery *q, const KvgEntity *entity);
void kvg_entity_get_policy(KvgQuery *q, const KvgEntity *entity);
void kvg_entity_list_policies(KvgQuery *q, const KvgEntity *entity);
void kvg_entity_list_attached(KvgQuery *q, const KvgEntity *entity);
void kvg_entity_delete_policy(KvgQuery *q, const KvgEntity *entity);
/* Whether it has none; else DeleteConflict. */
bool kvg_entity_check_no_policies(KvgQuery *q, const KvgEntity *entity, const char *name);
/* The Tags of the call are added to @name. */
bool kvg_entity_set_tags(KvgQuery *q, const KvgEntity *entity, const char *name);
void kvg_entity_tag(KvgQuery *q, const KvgEntity *entity);
void kvg_entity_untag(KvgQuery *q, const KvgEntity *entity);
void kvg_entity_list_tags(KvgQuery *q, const KvgEntity *entity);
/* <Tags>..., nothing if there is none. */
void kvg_entity_put_tags(KvgQuery *q, const KvgEntity *entity, const char *name);
