#include "config/snapshot.h"

#include "base/json.h"
#include "config/loader.h"
#include "config/private.h"

#include <errno.h>
#include <fcntl.h>
#include <kvg/error.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_SNAPSHOT_BYTES (16 * 1024 * 1024)

static char *
to_base64(GBytes *bytes)
{
    size_t len;
    const void *data = g_bytes_get_data(bytes, &len);
    return g_base64_encode(data, len);
}

static GBytes *
from_base64(const char *text)
{
    size_t len;
    guchar *data = g_base64_decode(text, &len);
    return g_bytes_new_take(data, len);
}

static bool
write_whole(int fd, const char *text, size_t len)
{
    for (size_t done = 0; done < len;) {
        const ssize_t n = write(fd, text + done, len - done);
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

int
kvg_config_to_fd(const KvgConfig *config, GError **error)
{
    g_autoptr(json_t) files = json_object();
    GHashTableIter at;
    void *path, *bytes;
    g_hash_table_iter_init(&at, config->files);
    while (g_hash_table_iter_next(&at, &path, &bytes)) {
        g_autofree char *content = to_base64(bytes);
        json_object_set_new(files, path, json_string(content));
    }
    g_autofree char *content = to_base64(config->text);
    g_autoptr(json_t) snapshot =
        json_pack("{s:s, s:s, s:O}", "path", config->path, "text", content, "files", files);
    g_autofree char *text = snapshot != NULL ? kvg_json_to_text(snapshot) : NULL;
    if (text == NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID,
                    "the name of the configuration file is not UTF-8; rename it");
        return -1;
    }
    const int fd = memfd_create("kvg-config", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || !write_whole(fd, text, strlen(text)) ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "no memory for the configuration: %s",
                    g_strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return fd;
}

static json_t *
read_json(int fd, GError **error)
{
    struct stat info;
    if (fstat(fd, &info) != 0 || info.st_size > MAX_SNAPSHOT_BYTES) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "the configuration given is no file");
        return NULL;
    }
    g_autofree char *text = g_malloc((size_t)info.st_size + 1);
    if (pread(fd, text, (size_t)info.st_size, 0) != info.st_size) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_FAILED, "the configuration given cannot be read");
        return NULL;
    }
    json_t *json = kvg_json_parse_object(text, (size_t)info.st_size, error);
    explicit_bzero(text, (size_t)info.st_size);
    return json;
}

KvgConfig *
kvg_config_from_fd(int fd, GError **error)
{
    g_autoptr(json_t) snapshot = read_json(fd, error);
    if (snapshot == NULL)
        return NULL;
    const char *path = kvg_json_get_string(snapshot, "path");
    const char *content = kvg_json_get_string(snapshot, "text");
    if (path == NULL || content == NULL) {
        g_set_error(error, KVG_ERROR, KVG_ERROR_INVALID, "the configuration given is none");
        return NULL;
    }
    g_autoptr(GHashTable) files = kvg_config_files_new();
    const char *name;
    json_t *value;
    json_object_foreach(json_object_get(snapshot, "files"), name, value)
    {
        if (json_is_string(value))
            g_hash_table_insert(files, g_strdup(name), from_base64(json_string_value(value)));
    }
    g_autoptr(GBytes) text = from_base64(content);
    return kvg_config_parse(path, text, files, error);
}
