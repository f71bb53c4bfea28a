/* What the tests of the spool share: a folder, and fragments whose frames can be told apart. */
#pragma once

#include "spool/spool.h"
#include <glib.h>

typedef struct {
    char *root;
} Fixture;

#define ADD(name, test) g_test_add("/spool/" name, Fixture, NULL, set_up, test, tear_down)
void init_tests(int *argc, char ***argv);
int run_tests(void);

void set_up(Fixture *f, const void *data);
void tear_down(Fixture *f, const void *data);
char *folder(const Fixture *f, const char *name);
KvgSpoolReader *reader_of(KvgSpool *spool);
KvgSpool *open_with(const KvgSpoolOptions *options); /* asserts that it works */
void close_spool(KvgSpool *spool);                   /* with its reader */
KvgSpoolStats stats_of(KvgSpool *spool);
KvgSpool *open_spool(const char *path, uint64_t limit, uint32_t segment);
void put_tracks(KvgSpool *spool, const char *private);
GBytes *payload(uint64_t fragment, unsigned i, size_t len);
bool put_frame(KvgSpool *spool, uint64_t fragment, unsigned i, size_t len, GError **error);
void put_fragment(KvgSpool *spool, uint64_t fragment, unsigned n_frames, size_t len);
KvgSpoolEventKind read_event(KvgSpool *spool, KvgSpoolEvent *event);
void check_frame(const KvgSpoolEvent *event, uint64_t fragment, unsigned i, size_t len);
unsigned read_fragment(KvgSpool *spool, uint64_t fragment, size_t len);
/* Reads on to the end; asserts that every frame is the one it should be, in order, and returns how
 * many there were. */
uint64_t read_rest(KvgSpool *spool, size_t len);
unsigned count_files(const char *path, const char *suffix);
void assert_drained(KvgSpool *spool);

/* ---- a system whose time stands still and whose disks fail ---- */

/* What calls on files below a folder do. */
typedef struct {
    int open_code, write_code, sync_code, folder_code, rename_code; /* 0: works */
    size_t short_bytes; /* most bytes a write takes; 0: all */
    uint64_t room;      /* bytes until ENOSPC; deleting gives back; 0: no end */
} Fault;

extern const KvgSpoolSystem test_system;
void test_pass_time(int64_t ms);
/* NULL: works again. Thread: any. */
void test_set_fault(const char *below, const Fault *fault);
/* Syncs wait until they are let go. */
void test_hold_syncs(bool hold);
