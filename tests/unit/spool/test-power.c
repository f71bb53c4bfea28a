/* The power goes: every write, sync, rename and unlink is recorded, and for every prefix of the
 * record the disk is made as it may look then. What a sync has covered is there; of the rest each
 * piece is there, absent or torn, as the dice say. The spool opens and holds every fragment that
 * was synced. */
#include "fixture.h"
#include "os/file.h"
#include <fcntl.h>
#include <glib/gstdio.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#define FRAMES 3
#define LEN 400

typedef enum { CREATE, WRITE, SYNC, SYNC_FOLDER, RENAME, UNLINK, CLAIM, PERSIST, ASK } Kind;

typedef struct {
    Kind kind;
    unsigned file;     /* CREATE, WRITE, SYNC, RENAME, UNLINK */
    char *name;        /* CREATE, RENAME: its name from now on */
    uint64_t offset;   /* WRITE */
    GBytes *data;      /* WRITE */
    guint covers;      /* SYNC, SYNC_FOLDER: what is recorded up to here is safe */
    uint64_t from, to; /* CLAIM: these fragments are synced; PERSIST: up to `to`;
                          ASK: release number `to` is stored */
} Op;

/* ---- the record ---- */

static struct {
    pthread_mutex_t lock;
    const char *folder; /* of the disk */
    GArray *ops;        /* Op */
    GHashTable *names;  /* name -> file */
    GHashTable *fds;    /* fd -> file */
    unsigned n_files;
} tape = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void
clear_op(void *data)
{
    Op *op = data;
    g_free(op->name);
    g_clear_pointer(&op->data, g_bytes_unref);
}

static void
start_tape(const char *folder)
{
    tape.folder = folder;
    tape.ops = g_array_new(FALSE, FALSE, sizeof(Op));
    g_array_set_clear_func(tape.ops, clear_op);
    tape.names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    tape.fds = g_hash_table_new(NULL, NULL);
    tape.n_files = 0;
}

static void
end_tape(void)
{
    g_array_unref(tape.ops);
    g_hash_table_unref(tape.names);
    g_hash_table_unref(tape.fds);
}

static void
note(Op op)
{
    pthread_mutex_lock(&tape.lock);
    g_array_append_val(tape.ops, op);
    pthread_mutex_unlock(&tape.lock);
}

static guint
tape_length(void)
{
    pthread_mutex_lock(&tape.lock);
    const guint n = tape.ops->len;
    pthread_mutex_unlock(&tape.lock);
    return n;
}

/* The name within the disk's folder; NULL: elsewhere. */
static const char *
name_of(const char *path)
{
    const size_t len = strlen(tape.folder);
    return strncmp(path, tape.folder, len) == 0 && path[len] == '/' ? path + len + 1 : NULL;
}

static int
record_open(const char *path, int flags, mode_t mode)
{
    const char *name = name_of(path);
    const int fd = kvg_spool_system.open(path, flags, mode);
    if (fd < 0 || name == NULL)
        return fd;
    pthread_mutex_lock(&tape.lock);
    unsigned file = GPOINTER_TO_UINT(g_hash_table_lookup(tape.names, name));
    if (file == 0) {
        file = ++tape.n_files;
        g_hash_table_insert(tape.names, g_strdup(name), GUINT_TO_POINTER(file));
        const Op op = {.kind = CREATE, .file = file, .name = g_strdup(name)};
        g_array_append_val(tape.ops, op);
    }
    g_hash_table_insert(tape.fds, GINT_TO_POINTER(fd), GUINT_TO_POINTER(file));
    pthread_mutex_unlock(&tape.lock);
    return fd;
}

static unsigned
file_of_fd(int fd)
{
    pthread_mutex_lock(&tape.lock);
    const unsigned file = GPOINTER_TO_UINT(g_hash_table_lookup(tape.fds, GINT_TO_POINTER(fd)));
    pthread_mutex_unlock(&tape.lock);
    char link[64], path[PATH_MAX];
    g_snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t len = readlink(link, path, sizeof path - 1);
    path[MAX(len, 0)] = '\0';
    return name_of(path) != NULL ? file : 0; /* the number may have been another file's */
}

static ssize_t
record_write(int fd, const struct iovec *parts, int n, off_t offset)
{
    const ssize_t done = kvg_spool_system.pwritev(fd, parts, n, offset);
    const unsigned file = file_of_fd(fd);
    if (done <= 0 || file == 0)
        return done;
    GByteArray *bytes = g_byte_array_new();
    for (int i = 0; i < n; i++)
        g_byte_array_append(bytes, parts[i].iov_base, (guint)parts[i].iov_len);
    note((Op){.kind = WRITE,
              .file = file,
              .offset = (uint64_t)offset,
              .data = g_byte_array_free_to_bytes(bytes)});
    return done;
}

static int
record_sync(int fd)
{
    const guint covers = tape_length();
    const unsigned file = file_of_fd(fd);
    if (file != 0)
        note((Op){.kind = SYNC, .file = file, .covers = covers});
    return 0;
}

static int
record_sync_folder(const char *path)
{
    const guint covers = tape_length();
    if (strcmp(path, tape.folder) == 0)
        note((Op){.kind = SYNC_FOLDER, .covers = covers});
    return 0;
}

static int
record_rename(const char *from, const char *to)
{
    if (name_of(from) == NULL) /* in memory: gone with the power */
        return kvg_spool_system.rename(from, to);
    pthread_mutex_lock(&tape.lock);
    const void *file = g_hash_table_lookup(tape.names, name_of(from));
    g_assert_nonnull(file);
    g_hash_table_remove(tape.names, name_of(from));
    g_hash_table_insert(tape.names, g_strdup(name_of(to)), (void *)(uintptr_t)file);
    pthread_mutex_unlock(&tape.lock);
    note((Op){.kind = RENAME, .file = GPOINTER_TO_UINT(file), .name = g_strdup(name_of(to))});
    return kvg_spool_system.rename(from, to);
}

static int
record_unlink(const char *path)
{
    if (name_of(path) != NULL) {
        pthread_mutex_lock(&tape.lock);
        const unsigned file = GPOINTER_TO_UINT(g_hash_table_lookup(tape.names, name_of(path)));
        g_hash_table_remove(tape.names, name_of(path));
        pthread_mutex_unlock(&tape.lock);
        if (file != 0)
            note((Op){.kind = UNLINK, .file = file});
    }
    return kvg_spool_system.unlink(path);
}

static KvgSpoolSystem
recording_system(void)
{
    KvgSpoolSystem system = test_system;
    system.open = record_open;
    system.pwritev = record_write;
    system.fdatasync = record_sync;
    system.sync_folder = record_sync_folder;
    system.rename = record_rename;
    system.unlink = record_unlink;
    return system;
}

/* ---- the disk after the first @n operations ---- */

typedef struct {
    char *name; /* NULL: it has none */
    GByteArray *bytes;
} File;

static void
clear_file(void *data)
{
    File *file = data;
    g_free(file->name);
    g_byte_array_unref(file->bytes);
}

/* How likely it is that what no sync has covered is there, in eighths. */
typedef struct {
    GRand *random;
    gint32 eighths;
} Dice;

static bool
is_lucky(const Dice *dice)
{
    return g_rand_int_range(dice->random, 0, 8) < dice->eighths;
}

/* Up to where the operations on @file (0: the folder) are safe. */
static guint
safe_up_to(guint n, unsigned file)
{
    guint safe = 0;
    for (guint i = 0; i < n; i++) {
        const Op *op = &g_array_index(tape.ops, Op, i);
        if (op->kind == (file != 0 ? SYNC : SYNC_FOLDER) && op->file == file)
            safe = op->covers;
    }
    return safe;
}

static void
apply_write(File *file, const Op *op, bool is_safe, const Dice *dice)
{
    size_t len;
    const uint8_t *data = g_bytes_get_data(op->data, &len);
    size_t kept = len;
    if (!is_safe && !is_lucky(dice))
        kept = is_lucky(dice) ? (size_t)g_rand_int_range(dice->random, 0, (gint32)len + 1) : 0;
    /* The size may be there before the bytes are. */
    const size_t reached = is_safe || is_lucky(dice) ? len : kept;
    if (reached == 0)
        return;
    const guint end = (guint)(op->offset + reached), before = file->bytes->len;
    if (end > before) {
        g_byte_array_set_size(file->bytes, end);
        memset(file->bytes->data + before, 0, end - before);
    }
    memcpy(file->bytes->data + op->offset, data, kept);
}

static GArray *
make_disk(guint n, const Dice *dice)
{
    GArray *files = g_array_new(FALSE, TRUE, sizeof(File));
    g_array_set_clear_func(files, clear_file);
    g_array_set_size(files, tape.n_files + 1);
    g_autofree guint *safe = g_new(guint, tape.n_files + 1);
    for (unsigned f = 0; f <= tape.n_files; f++) {
        g_array_index(files, File, f).bytes = g_byte_array_new();
        safe[f] = safe_up_to(n, f);
    }
    for (guint i = 0; i < n; i++) {
        const Op *op = &g_array_index(tape.ops, Op, i);
        File *file = &g_array_index(files, File, op->file);
        const bool names = op->kind == CREATE || op->kind == RENAME || op->kind == UNLINK;
        if (op->kind == WRITE)
            apply_write(file, op, i < safe[op->file], dice);
        if (!names || (i >= safe[0] && !is_lucky(dice)))
            continue;
        g_free(file->name);
        file->name = g_strdup(op->name);
    }
    return files;
}

static void
write_disk(const char *path, const GArray *files)
{
    g_assert_true(kvg_dir_remove(path, NULL));
    g_assert_cmpint(g_mkdir_with_parents(path, 0700), ==, 0);
    for (guint i = 1; i < files->len; i++) {
        const File *file = &g_array_index(files, File, i);
        if (file->name == NULL)
            continue;
        g_autofree char *at = g_build_filename(path, file->name, NULL);
        g_auto(KvgFd) fd = open(at, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        g_assert_true(kvg_fd_write_all(fd, file->bytes->data, file->bytes->len, NULL));
    }
}

static int
sync_nothing(int fd)
{
    return 0;
}

static int
sync_no_folder(const char *path)
{
    return 0;
}

/* Every release that was stored is known. */
static void
check_releases(const char *path, guint n)
{
    KvgSpoolSystem quick = test_system;
    quick.fdatasync = sync_nothing;
    quick.sync_folder = sync_no_folder;
    const KvgSpoolOptions options = {.path = path, .hold = true, .system = &quick};
    KvgSpool *spool = open_with(&options);
    size_t n_found;
    g_autofree KvgRelease *found = kvg_spool_list_releases(spool, &n_found);
    for (guint i = 0; i < n; i++) {
        const Op *op = &g_array_index(tape.ops, Op, i);
        if (op->kind == ASK)
            g_assert_cmpuint(n_found, >=, op->to);
    }
    for (size_t k = 0; k < n_found; k++)
        g_assert_cmpuint(g_ascii_strtoull(found[k].id, NULL, 10), ==, k + 1);
    close_spool(spool);
}

/* Every fragment that is claimed and not persisted is whole; nothing that is read is false. */
static void
check_disk(const char *path, guint n)
{
    g_autoptr(GHashTable) claimed = g_hash_table_new(NULL, NULL);
    for (guint i = 0; i < n; i++) {
        const Op *op = &g_array_index(tape.ops, Op, i);
        for (uint64_t k = op->from; op->kind == CLAIM && k <= op->to; k++)
            g_hash_table_add(claimed, GUINT_TO_POINTER(k));
        for (uint64_t k = 1; op->kind == PERSIST && k <= op->to; k++)
            g_hash_table_remove(claimed, GUINT_TO_POINTER(k));
    }
    KvgSpoolSystem quick = test_system;
    quick.fdatasync = sync_nothing;
    quick.sync_folder = sync_no_folder;
    const KvgSpoolOptions options = {.path = path, .system = &quick};
    KvgSpool *spool = open_with(&options);
    g_auto(KvgSpoolEvent) event = {0};
    unsigned in_fragment = 0;
    while (read_event(spool, &event) != KVG_SPOOL_NONE) {
        if (event.kind == KVG_SPOOL_BEGIN)
            in_fragment = 0;
        if (event.kind == KVG_SPOOL_FRAME)
            check_frame(&event, event.fragment, in_fragment++, LEN);
        if (event.kind == KVG_SPOOL_END && in_fragment == FRAMES)
            g_hash_table_remove(claimed, GUINT_TO_POINTER(event.fragment));
    }
    g_assert_cmpuint(g_hash_table_size(claimed), ==, 0);
    /* and it takes more */
    put_tracks(spool, "y");
    const uint64_t next = stats_of(spool).newest_fragment;
    g_assert_true(kvg_spool_begin_fragment(spool, 0, NULL));
    g_assert_cmpuint(stats_of(spool).newest_fragment, >, next);
    close_spool(spool);
}

/* ---- the runs ---- */

static void
claim(KvgSpool *spool)
{
    KvgSpoolFragmentInfo info;
    for (uint64_t k = 1; kvg_spool_peek(spool, k, &info); k = info.number + 1) {
        if (info.place == KVG_SPOOL_ON_DISK)
            note((Op){.kind = CLAIM, .from = info.number, .to = info.number});
    }
}

/* Asks for a range of time, and notes it when it is stored. */
static void
ask(KvgSpool *spool, uint64_t number)
{
    g_autofree char *id = g_strdup_printf("%" G_GUINT64_FORMAT, number);
    const KvgTimeRange range = {(int64_t)number * 1000, (int64_t)number * 1000 + 500};
    g_assert_true(kvg_spool_release(spool, id, &range, NULL));
    kvg_spool_settle(spool);
    note((Op){.kind = ASK, .to = number});
}

static void
record_run(const KvgSpoolOptions *options, GRand *random)
{
    KvgSpool *spool = open_with(options);
    put_tracks(spool, "x");
    for (uint64_t fragment = 1; options->hold && fragment <= 20; fragment++) {
        put_fragment(spool, fragment, FRAMES, LEN);
        ask(spool, fragment);
    }
    if (options->hold) {
        close_spool(spool);
        return;
    }
    for (uint64_t fragment = 1; fragment <= 40; fragment++) {
        put_fragment(spool, fragment, FRAMES, LEN);
        test_pass_time(g_rand_int_range(random, 0, 2500));
        if (g_rand_int_range(random, 0, 3) == 0) {
            kvg_spool_settle(spool);
            claim(spool);
        }
        if (g_rand_int_range(random, 0, 8) == 0) {
            const uint64_t done = (uint64_t)g_rand_int_range(random, 0, (gint32)fragment);
            note((Op){.kind = PERSIST, .to = done});
            kvg_spool_persisted(spool, done);
        }
    }
    close_spool(spool);
}

static void
cut_power(Fixture *f, KvgSpoolTier tier, bool hold)
{
    GRand *random = g_rand_new_with_seed(11);
    g_autofree char *disk = folder(f, "disk/cam"), *memory = folder(f, "memory/x/cam");
    g_autofree char *copy = folder(f, "copy/cam");
    const KvgSpoolSystem system = recording_system();
    const KvgSpoolOptions options = {.path = disk,
                                     .memory_path = memory,
                                     .tier = tier,
                                     .segment_bytes = 5000,
                                     .hold = hold,
                                     .system = &system};
    start_tape(disk);
    record_run(&options, random);
    const gint32 chances[] = {0, 4, 8};
    for (guint n = 0; n <= tape.ops->len; n++) {
        for (guint i = 0; i < G_N_ELEMENTS(chances); i++) {
            const Dice dice = {random, chances[i]};
            g_autoptr(GArray) files = make_disk(n, &dice);
            write_disk(copy, files);
            if (hold)
                check_releases(copy, n);
            else
                check_disk(copy, n);
        }
    }
    g_test_message("tier %s: %u operations, %u disks", kvg_spool_tier_to_string(tier),
                   tape.ops->len, 3 * (tape.ops->len + 1));
    end_tape();
    g_rand_free(random);
}

static void
test_disk(Fixture *f, const void *data)
{
    cut_power(f, KVG_SPOOL_TIER_DISK, false);
}

static void
test_auto(Fixture *f, const void *data)
{
    cut_power(f, KVG_SPOOL_TIER_AUTO, false);
}

static void
test_hold(Fixture *f, const void *data)
{
    cut_power(f, KVG_SPOOL_TIER_DISK, true);
    g_assert_true(kvg_dir_remove(f->root, NULL));
    cut_power(f, KVG_SPOOL_TIER_AUTO, true);
}

int
main(int argc, char **argv)
{
    init_tests(&argc, &argv);
    ADD("power/disk", test_disk);
    ADD("power/auto", test_auto);
    ADD("power/hold", test_hold);
    return run_tests();
}
