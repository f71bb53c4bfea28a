#include "cli/ledger.h"
#include "base/json.h"
#include "os/file.h"
#include <errno.h>
#include <fcntl.h>
#include <kvg/error.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define MAX_BYTES (16u * 1024 * 1024)

struct _KvgLedger {
    char *path;
    bool read_only;
    KvgFd lock_file; /* held while it is open */
    struct {
        GMutex lock;
        GCond saved;
        json_t *root;
        uint64_t n_changed, n_saved; /* how many changes there were, how many are on disk */
        bool is_saving;
    } shared;
};

static bool
lock_directory(KvgLedger *ledger, const char *directory, GError **error)
{
    g_autofree char *path = g_build_filename(directory, ".lock", NULL);
    ledger->lock_file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (ledger->lock_file >= 0 && flock(ledger->lock_file, LOCK_EX | LOCK_NB) == 0)
        return true;
    if (errno == EWOULDBLOCK)
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "another kvg provision or kvg destroy works in %s; wait for its end",
                    directory);
    else
        g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "%s: %s", path, g_strerror(errno));
    return false;
}

static bool
read_file(KvgLedger *ledger, GError **error)
{
    if (!g_file_test(ledger->path, G_FILE_TEST_EXISTS)) {
        ledger->shared.root = json_pack("{s:{}}", "cameras");
        return true;
    }
    size_t len;
    g_autofree char *text = kvg_file_read(ledger->path, MAX_BYTES, &len, error);
    ledger->shared.root = text != NULL ? kvg_json_parse_object(text, len, error) : NULL;
    if (ledger->shared.root == NULL) {
        g_prefix_error(error, "%s: ", ledger->path);
        return false;
    }
    if (!json_is_object(json_object_get(ledger->shared.root, "cameras")))
        json_object_set_new(ledger->shared.root, "cameras", json_object());
    return true;
}

KvgLedger *
kvg_ledger_open(const char *directory, bool read_only, GError **error)
{
    g_autoptr(KvgLedger) ledger = g_new0(KvgLedger, 1);
    ledger->lock_file = KVG_FD_NONE;
    ledger->read_only = read_only;
    ledger->path = g_build_filename(directory, "provision.json", NULL);
    g_mutex_init(&ledger->shared.lock);
    g_cond_init(&ledger->shared.saved);
    if ((!read_only &&
         (!kvg_dir_make(directory, 0700, error) || !lock_directory(ledger, directory, error))) ||
        !read_file(ledger, error))
        return NULL;
    return g_steal_pointer(&ledger);
}

void
kvg_ledger_close(KvgLedger *ledger)
{
    if (ledger == NULL)
        return;
    kvg_fd_clear(&ledger->lock_file);
    json_decref(ledger->shared.root);
    g_mutex_clear(&ledger->shared.lock);
    g_cond_clear(&ledger->shared.saved);
    g_free(ledger->path);
    g_free(ledger);
}

/* The member object of one camera, made if absent, or the root. With the lock held; borrowed. */
static json_t *
part(KvgLedger *ledger, const char *camera)
{
    if (camera == NULL)
        return ledger->shared.root;
    json_t *cameras = json_object_get(ledger->shared.root, "cameras");
    if (!json_is_object(json_object_get(cameras, camera)))
        json_object_set_new(cameras, camera, json_pack("{s:s}", "thing", camera));
    return json_object_get(cameras, camera);
}

/* The member @key of it, an object or an array, made if absent. */
static json_t *
container(KvgLedger *ledger, const char *camera, const char *key, bool is_array)
{
    json_t *owner = part(ledger, camera);
    json_t *found = json_object_get(owner, key);
    if (is_array ? !json_is_array(found) : !json_is_object(found)) {
        json_object_set_new(owner, key, is_array ? json_array() : json_object());
        found = json_object_get(owner, key);
    }
    return found;
}

char *
kvg_ledger_get(KvgLedger *ledger, const char *camera, const char *key)
{
    g_mutex_lock(&ledger->shared.lock);
    char *value = g_strdup(kvg_json_get_string(part(ledger, camera), key));
    g_mutex_unlock(&ledger->shared.lock);
    return value;
}

void
kvg_ledger_set(KvgLedger *ledger, const char *camera, const char *key, const char *value)
{
    g_mutex_lock(&ledger->shared.lock);
    json_t *owner = part(ledger, camera);
    if (g_strcmp0(kvg_json_get_string(owner, key), value) != 0)
        ledger->shared.n_changed++;
    if (value != NULL)
        json_object_set_new(owner, key, json_string(value));
    else
        json_object_del(owner, key);
    g_mutex_unlock(&ledger->shared.lock);
}

bool
kvg_ledger_is_made(KvgLedger *ledger, const char *camera, const char *what)
{
    g_mutex_lock(&ledger->shared.lock);
    const bool made = json_is_true(json_object_get(container(ledger, camera, "made", false), what));
    g_mutex_unlock(&ledger->shared.lock);
    return made;
}

void
kvg_ledger_set_made(KvgLedger *ledger, const char *camera, const char *what, bool made)
{
    g_mutex_lock(&ledger->shared.lock);
    json_t *all = container(ledger, camera, "made", false);
    if (json_is_true(json_object_get(all, what)) != made)
        ledger->shared.n_changed++;
    if (made)
        json_object_set_new(all, what, json_true());
    else
        json_object_del(all, what);
    g_mutex_unlock(&ledger->shared.lock);
}

/* With the lock held: the place of @id in the array, or its length. */
static size_t
find_id(const json_t *ids, const char *id)
{
    size_t i = 0;
    while (i < json_array_size(ids) &&
           g_strcmp0(json_string_value(json_array_get(ids, i)), id) != 0)
        i++;
    return i;
}

GStrv
kvg_ledger_retired(KvgLedger *ledger, const char *camera)
{
    g_autoptr(GStrvBuilder) list = g_strv_builder_new();
    g_mutex_lock(&ledger->shared.lock);
    const json_t *ids = container(ledger, camera, "retired", true);
    for (size_t i = 0; i < json_array_size(ids); i++)
        if (json_is_string(json_array_get(ids, i)))
            g_strv_builder_add(list, json_string_value(json_array_get(ids, i)));
    g_mutex_unlock(&ledger->shared.lock);
    return g_strv_builder_end(list);
}

void
kvg_ledger_retire(KvgLedger *ledger, const char *camera, const char *certificate_id)
{
    g_mutex_lock(&ledger->shared.lock);
    json_t *ids = container(ledger, camera, "retired", true);
    if (find_id(ids, certificate_id) == json_array_size(ids))
        json_array_append_new(ids, json_string(certificate_id));
    ledger->shared.n_changed++;
    g_mutex_unlock(&ledger->shared.lock);
}

void
kvg_ledger_forget_retired(KvgLedger *ledger, const char *camera, const char *certificate_id)
{
    g_mutex_lock(&ledger->shared.lock);
    json_t *ids = container(ledger, camera, "retired", true);
    json_array_remove(ids, find_id(ids, certificate_id));
    ledger->shared.n_changed++;
    g_mutex_unlock(&ledger->shared.lock);
}

GStrv
kvg_ledger_cameras(KvgLedger *ledger)
{
    g_autoptr(GStrvBuilder) list = g_strv_builder_new();
    const char *name;
    json_t *value;
    g_mutex_lock(&ledger->shared.lock);
    json_object_foreach(json_object_get(ledger->shared.root, "cameras"), name, value)
        g_strv_builder_add(list, name);
    g_mutex_unlock(&ledger->shared.lock);
    return g_strv_builder_end(list);
}

void
kvg_ledger_forget_camera(KvgLedger *ledger, const char *camera)
{
    g_mutex_lock(&ledger->shared.lock);
    json_object_del(json_object_get(ledger->shared.root, "cameras"), camera);
    ledger->shared.n_changed++;
    g_mutex_unlock(&ledger->shared.lock);
}

bool
kvg_ledger_knows_certificate(KvgLedger *ledger, const char *id)
{
    bool knows = false;
    const char *name;
    json_t *camera;
    g_mutex_lock(&ledger->shared.lock);
    json_object_foreach(json_object_get(ledger->shared.root, "cameras"), name, camera)
    {
        const json_t *retired = json_object_get(camera, "retired");
        knows |= g_strcmp0(kvg_json_get_string(camera, "certificate_id"), id) == 0 ||
                 g_strcmp0(kvg_json_get_string(camera, "next_id"), id) == 0 ||
                 find_id(retired, id) < json_array_size(retired);
    }
    g_mutex_unlock(&ledger->shared.lock);
    return knows;
}

/* With the lock held, which is let go while the disk works. */
static bool
write_file(KvgLedger *ledger, GError **error)
{
    g_autofree char *text = kvg_json_to_text(ledger->shared.root);
    const uint64_t n = ledger->shared.n_changed;
    ledger->shared.is_saving = true;
    g_mutex_unlock(&ledger->shared.lock);
    const bool good = kvg_file_replace(ledger->path, text, strlen(text), 0600, error);
    g_mutex_lock(&ledger->shared.lock);
    ledger->shared.is_saving = false;
    if (good)
        ledger->shared.n_saved = n;
    g_cond_broadcast(&ledger->shared.saved);
    return good;
}

bool
kvg_ledger_save(KvgLedger *ledger, GError **error)
{
    bool good = true;
    g_return_val_if_fail(!ledger->read_only, false);
    g_mutex_lock(&ledger->shared.lock);
    const uint64_t mine = ledger->shared.n_changed;
    while (good && ledger->shared.n_saved < mine) {
        if (ledger->shared.is_saving)
            g_cond_wait(&ledger->shared.saved, &ledger->shared.lock);
        else
            good = write_file(ledger, error);
    }
    g_mutex_unlock(&ledger->shared.lock);
    return good;
}

bool
kvg_ledger_remove_file(KvgLedger *ledger, GError **error)
{
    if (unlink(ledger->path) == 0 || errno == ENOENT)
        return true;
    g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "%s: %s", ledger->path, g_strerror(errno));
    return false;
}

char *
kvg_ledger_to_text(KvgLedger *ledger)
{
    g_mutex_lock(&ledger->shared.lock);
    char *text = kvg_json_to_text(ledger->shared.root);
    g_mutex_unlock(&ledger->shared.lock);
    return text;
}
