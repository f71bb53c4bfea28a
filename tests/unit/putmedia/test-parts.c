/* The small parts of the uploader, each against a plain model of itself. */
#include "putmedia/bucket.h"
#include "putmedia/done.h"
#include "putmedia/due.h"

#define N 200

static void
test_done(void)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(3);
    for (unsigned round = 0; round < 200; round++) {
        bool is_done[N + 2] = {true};
        KvgDone done;
        kvg_done_init(&done);
        for (unsigned i = 0; i < 40; i++) {
            const uint64_t from = (uint64_t)g_rand_int_range(random, 1, N);
            const uint64_t len = (uint64_t)g_rand_int_range(random, 0, 12);
            const uint64_t to = MIN(from + len, N) - 1; /* none, at times */
            kvg_done_add(&done, from, to);
            for (uint64_t n = from; n <= to; n++)
                is_done[n] = true;
            if (g_rand_int_range(random, 0, 20) == 0) {
                kvg_done_rewind(&done);
                for (uint64_t n = done.front; n < N; n++)
                    is_done[n] = false;
            }
            for (uint64_t n = 1; n < N; n++) {
                uint64_t next = n;
                while (is_done[next])
                    next++;
                g_assert_cmpuint(kvg_done_next(&done, n), ==, next);
            }
        }
        kvg_done_clear(&done);
    }
}

typedef struct {
    KvgDue due;
    int64_t served_us;
} Item;

static int64_t last_us;

static void
on_due(KvgDue *due, int64_t now_us)
{
    Item *item = (Item *)due;
    g_assert_cmpint(due->at_us, <=, now_us);
    g_assert_cmpint(due->at_us, >=, last_us); /* the earliest first */
    last_us = due->at_us;
    item->served_us = now_us;
}

static void
test_due(void)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(5);
    Item items[N] = {0};
    KvgDueHeap heap;
    kvg_due_heap_init(&heap);
    for (unsigned i = 0; i < N; i++)
        items[i].due.serve = on_due;
    for (unsigned round = 0; round < 2000; round++) {
        Item *item = &items[g_rand_int_range(random, 0, N)];
        const int64_t at_us = g_rand_int_range(random, 1, 1000);
        kvg_due_set(&heap, &item->due, at_us > 900 ? INT64_MAX : at_us);
        if (round % 100 != 99)
            continue;
        const int64_t now_us = g_rand_int_range(random, 1, 900);
        last_us = INT64_MIN;
        kvg_due_serve(&heap, now_us);
        int64_t next_us = INT64_MAX;
        for (unsigned i = 0; i < N; i++) {
            if (items[i].due.place == 0)
                continue;
            g_assert_cmpint(items[i].due.at_us, >, now_us);
            next_us = MIN(next_us, items[i].due.at_us);
        }
        g_assert_cmpint(kvg_due_next(&heap), ==, next_us);
    }
    kvg_due_heap_clear(&heap);
}

static void
test_bucket(void)
{
    KvgBucket none, bucket;
    kvg_bucket_init(&none, 0, 0);
    g_assert_cmpuint(kvg_bucket_room(&none, 1), ==, SIZE_MAX);
    /* 80 kbit/s: 10,000 bytes a second, 2,500 of them at once. */
    kvg_bucket_init(&bucket, 80000, 0);
    g_assert_cmpuint(kvg_bucket_room(&bucket, 0), ==, 2500);
    kvg_bucket_take(&bucket, 3500); /* somebody else was quicker */
    g_assert_cmpuint(kvg_bucket_room(&bucket, 0), ==, 0);
    g_assert_cmpint(kvg_bucket_ready_us(&bucket, 1000), ==, 200001);
    g_assert_cmpuint(kvg_bucket_room(&bucket, 200000), ==, 1000);
    g_assert_cmpuint(kvg_bucket_room(&bucket, 10000000), ==, 2500);
    /* More than it holds is ready when it is full, or nothing would ever go. */
    kvg_bucket_take(&bucket, 2500);
    g_assert_cmpint(kvg_bucket_ready_us(&bucket, 1000000), ==, 10250001);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/putmedia/done", test_done);
    g_test_add_func("/putmedia/due", test_due);
    g_test_add_func("/putmedia/bucket", test_bucket);
    return g_test_run();
}
