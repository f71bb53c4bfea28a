/* Node packages: interfaces with their ports. From package.json, from the stock of the former
 * service, or implied: a camera that the service made from its template left no file. */
#pragma once

#include "panorama/document.h"

typedef struct {
    const char *name;
    KvgPortType type;
    unsigned max_connections;    /* 0: any */
    const json_t *default_value; /* NULL: none */
    const char *regex;           /* NULL */
} KvgPackagePort;

typedef struct {
    const char *name, *category;
    const char *asset;           /* NULL */
    GPtrArray *inputs, *outputs; /* KvgPackagePort */
    GArray *inbound;             /* uint16_t: network ports */
} KvgPackageInterface;

typedef enum {
    KVG_PACKAGE_FILE,   /* package.json */
    KVG_PACKAGE_STOCK,  /* of the owner `panorama` */
    KVG_PACKAGE_CAMERA, /* made by the template; no file */
    KVG_PACKAGE_ABSENT, /* there is no file: its ports are not known */
} KvgPackageKind;

typedef struct {
    KvgPackageKind kind;
    char *owner, *name, *version;
    char *file; /* NULL */
    json_t *root;
    GPtrArray *interfaces; /* KvgPackageInterface */
} KvgPackage;

void kvg_package_free(KvgPackage *package);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KvgPackage, kvg_package_free)

/* A file of a project, as it was read. */
typedef struct {
    char *name; /* as in messages; of a package: ".../OWNER-PACKAGE-VERSION/package.json" */
    char *text;
    size_t len;
} KvgProjectFile;

/* NULL: @file is no package; see @problems. */
KvgPackage *kvg_package_parse(const KvgProjectFile *file, KvgProblems *problems);
/* NULL: the service had no such package. */
KvgPackage *kvg_package_new_stock(const char *name, const char *version);
KvgPackage *kvg_package_new_camera(const char *owner, const char *name, const char *version);
KvgPackage *kvg_package_new_absent(const char *owner, const char *name, const char *version);

/* NULL: none of that name. */
const KvgPackageInterface *kvg_package_find_interface(const KvgPackage *package, const char *name);
const KvgPackagePort *kvg_package_find_port(const GPtrArray *ports, const char *name);
/* The placeholder that an override must replace. */
bool kvg_package_is_abstract_camera(const KvgPackage *package);
/* A camera's package that somebody wrote by hand: its address and password are defaults of ports.
 */
bool kvg_package_has_address(const KvgPackageInterface *interface);
/* assetUri of the first implementation of the asset @name, and its type; NULL. */
const char *kvg_package_asset_uri(const KvgPackage *package, const char *name, const char **type);
