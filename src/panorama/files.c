#include "panorama/files.h"
#include "os/file.h"
#include <string.h>

#define MAX_PACKAGES 1000

void
kvg_project_file_clear(KvgProjectFile *file)
{
    if (file->text != NULL)
        explicit_bzero(file->text, file->len);
    g_clear_pointer(&file->name, g_free);
    g_clear_pointer(&file->text, g_free);
}

bool
kvg_project_read_file(const char *path, KvgProjectFile *file, KvgProblems *problems)
{
    g_autoptr(GError) error = NULL;
    /* A pipe in place of a file would hold us up. */
    const bool is_file =
        !g_file_test(path, G_FILE_TEST_EXISTS) || g_file_test(path, G_FILE_TEST_IS_REGULAR);
    char *text = is_file ? kvg_file_read(path, KVG_DOCUMENT_MAX_BYTES, &file->len, &error) : NULL;
    if (text == NULL) {
        kvg_problem_add(problems, KVG_PROBLEM_ERROR, error != NULL ? NULL : path, NULL, NULL, "%s",
                        error != NULL ? error->message : "not a file");
        return false;
    }
    file->name = g_strdup(path);
    file->text = text;
    return true;
}

char *
kvg_project_root(const char *graph)
{
    g_autofree char *absolute = g_canonicalize_filename(graph, NULL);
    g_autofree char *application = g_path_get_dirname(absolute);
    g_autofree char *graphs = g_path_get_dirname(application);
    g_autofree char *name = g_path_get_basename(graphs);
    return strcmp(name, "graphs") == 0 ? g_path_get_dirname(graphs) : NULL;
}

static int
compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static GPtrArray *
folder_names(const char *folder, KvgProblems *problems)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GDir) dir = g_dir_open(folder, 0, &error);
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    if (dir == NULL)
        kvg_problem_add(problems, KVG_PROBLEM_ERROR, NULL, NULL, NULL, "%s", error->message);
    for (const char *name = dir != NULL ? g_dir_read_name(dir) : NULL;
         name != NULL && names->len < MAX_PACKAGES; name = g_dir_read_name(dir))
        g_ptr_array_add(names, g_strdup(name));
    g_ptr_array_sort(names, compare_names);
    return names;
}

/* The descriptor beside a package.json says how its code is started; its name is only a custom. */
static void
check_descriptor(const char *folder, KvgProblems *problems)
{
    g_autofree char *path = g_build_filename(folder, "descriptor.json", NULL);
    g_auto(KvgProjectFile) file = {0};
    if (!g_file_test(path, G_FILE_TEST_EXISTS) || !kvg_project_read_file(path, &file, problems))
        return;
    g_autoptr(json_t) root =
        kvg_document_parse(KVG_DOCUMENT_DESCRIPTOR, file.name, file.text, file.len, problems);
    if (json_object_get(root, "mlModelDescriptor") != NULL)
        kvg_problem_add(problems, KVG_PROBLEM_NOTE, path, "$.mlModelDescriptor", NULL,
                        "not applicable: models are not run");
}

static void
read_packages(const char *folder, KvgGraphSources *sources, KvgProblems *problems)
{
    g_autoptr(GPtrArray) names = folder_names(folder, problems);
    for (guint i = 0; i < names->len; i++) {
        g_autofree char *package = g_build_filename(folder, names->pdata[i], NULL);
        g_autofree char *path = g_build_filename(package, "package.json", NULL);
        KvgProjectFile file = {0};
        if (!g_file_test(path, G_FILE_TEST_EXISTS))
            continue;
        if (kvg_project_read_file(path, &file, problems))
            g_array_append_val(sources->packages, file);
        check_descriptor(package, problems);
    }
}

void
kvg_project_read(const char *graph,
                 char **overrides,
                 const char *packages,
                 KvgGraphSources *sources,
                 KvgProblems *problems)
{
    g_autofree char *root = kvg_project_root(graph);
    g_autofree char *beside = root != NULL ? g_build_filename(root, "packages", NULL) : NULL;
    const char *folder = packages != NULL ? packages : beside;
    kvg_project_read_file(graph, &sources->graph, problems);
    for (char **override = overrides; override != NULL && *override != NULL; override++) {
        KvgProjectFile file = {0};
        if (kvg_project_read_file(*override, &file, problems))
            g_array_append_val(sources->overrides, file);
    }
    if (folder == NULL || (packages == NULL && !g_file_test(folder, G_FILE_TEST_IS_DIR)))
        return;
    sources->has_packages = true;
    read_packages(folder, sources, problems);
}
