/*
 * replay: runs a fuzz target over files, without a fuzzer: the corpus as a regression test.
 *
 *     replay FILE|DIRECTORY...
 *
 * Exits 1 when a file can't be read or none was given; a finding ends the process in its own way
 * (ASSERT, sanitizer).
 */
#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The bytes get an allocation of exactly their size, so that ASan sees a read beyond them. */
static int replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat status;
    if (file == NULL || fstat(fileno(file), &status) != 0) {
        perror(path);
        if (file != NULL) {
            fclose(file);
        }
        return -1;
    }
    size_t size = (size_t)status.st_size;
    uint8_t *data = malloc(size > 0 ? size : 1);
    if (data == NULL || fread(data, 1, size, file) != size) {
        fprintf(stderr, "%s: can't be read\n", path);
        free(data);
        fclose(file);
        return -1;
    }
    fclose(file);
    /* The last name that is printed is the input that ended the process. */
    fprintf(stderr, "%s\n", path);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 0;
}

static int replay_directory(const char *path, unsigned *count)
{
    DIR *directory = opendir(path);
    if (directory == NULL) {
        perror(path);
        return -1;
    }
    int result = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        char name[4096];
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (replay_file(name) != 0) {
            result = -1;
        }
        ++*count;
    }
    closedir(directory);
    return result;
}

int main(int argc, char **argv)
{
    unsigned count = 0;
    int result = 0;
    for (int i = 1; i < argc; i++) {
        struct stat status;
        if (stat(argv[i], &status) == 0 && S_ISDIR(status.st_mode)) {
            result |= replay_directory(argv[i], &count);
        } else {
            result |= replay_file(argv[i]);
            count++;
        }
    }
    if (count == 0) {
        fprintf(stderr, "no input file\n");
        return 1;
    }
    printf("%u inputs replayed\n", count);
    return result == 0 ? 0 : 1;
}
