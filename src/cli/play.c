/* kvg play NAME: the HLS URL of a camera. */
#include "aws/hls.h"
#include "cli/command.h"
#include "cli/target.h"
#include <gio/gio.h>
#include <stdio.h>

static int
open_in_player(const char *url)
{
    g_autoptr(GError) error = NULL;
    const char *const argv[] = {"xdg-open", url, NULL};
    g_autoptr(GSubprocess) process = g_subprocess_newv(argv, G_SUBPROCESS_FLAGS_NONE, &error);
    if (process != NULL && g_subprocess_wait_check(process, NULL, &error))
        return 0;
    fprintf(stderr, "kvg play: xdg-open: %s\n", error->message);
    return 1;
}

int
kvg_cmd_play(int argc, char **argv)
{
    g_auto(KvgTarget) target = {0};
    gboolean on_demand = FALSE, opens = FALSE;
    const GOptionEntry entries[] = {
        KVG_TARGET_OPTIONS(target),
        {"on-demand", 0, 0, G_OPTION_ARG_NONE, &on_demand, "the last hour instead of live", NULL},
        {"open", 0, 0, G_OPTION_ARG_NONE, &opens, "open it in this desktop's player", NULL},
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GOptionContext) context =
        g_option_context_new("NAME - print the HLS URL of a camera");
    g_autoptr(GError) error = NULL;
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error) || argc != 2) {
        fprintf(stderr, "kvg play: %s\n",
                error != NULL ? error->message : "give one camera's name");
        return 2;
    }
    g_autofree char *url = NULL;
    if (kvg_target_open(&target, &error)) {
        g_autofree char *endpoint = kvg_target_url(&target, "kinesisvideo");
        const KvgArchiveOptions options = {.region = kvg_target_region(&target),
                                           .endpoint = endpoint,
                                           .ca_path = kvg_target_ca(&target),
                                           .stream = argv[1]};
        g_autoptr(KvgArchive) archive = kvg_archive_new(&options, target.credentials);
        const KvgHlsRequest request = on_demand ? kvg_hls_last_hour() : (KvgHlsRequest){0};
        url = kvg_archive_hls_url(archive, &request, &error);
    }
    if (url == NULL) {
        fprintf(stderr, "kvg play: %s\n", error->message);
        return 1;
    }
    printf("%s\n", url);
    return opens ? open_in_player(url) : 0;
}
