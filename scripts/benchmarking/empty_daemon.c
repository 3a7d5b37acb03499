/* The floor for any FUSE file system: one file of 32 bytes, three levels deep, that never changes.
 *
 * It does nothing that a daemon could leave out: the kernel keeps names, attributes and bytes for an hour, and
 * asks nothing on close(2). What stays is one question and answer for each open(2), and single-threaded C.
 *
 *   cc -O2 -o empty_daemon empty_daemon.c $(pkg-config --cflags --libs fuse3)
 *   ./empty_daemon -o ro MOUNTPOINT
 */
#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fuse_lowlevel.h>
#include <string.h>
#include <sys/stat.h>

#define KEPT_S 3600.0
enum { PURPOSE = FUSE_ROOT_ID + 1, CLIENT, FILE_INODE };

static const char *const names[] = {[PURPOSE] = "storage-sym", [CLIENT] = "alice1", [FILE_INODE] = "current"};
static const char bytes[32] = "these are 32 bytes, as a key has";

static struct stat attributes_of(fuse_ino_t inode)
{
    struct stat found = {.st_ino = inode, .st_mode = S_IFDIR | 0555, .st_nlink = 2};
    if (inode == FILE_INODE) {
        found.st_mode = S_IFREG | 0400;
        found.st_nlink = 1;
        found.st_size = sizeof bytes;
    }
    return found;
}

static struct fuse_entry_param entry_of(fuse_ino_t inode)
{
    return (struct fuse_entry_param){
        .ino = inode, .attr = attributes_of(inode), .attr_timeout = KEPT_S, .entry_timeout = KEPT_S};
}

static void look_up(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    fuse_ino_t inode = parent + 1;
    if (inode > FILE_INODE || strcmp(name, names[inode]) != 0) {
        fuse_reply_err(request, ENOENT);
        return;
    }
    struct fuse_entry_param entry = entry_of(inode);
    fuse_reply_entry(request, &entry);
}

static void get_attributes(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file)
{
    (void)file;
    struct stat found = attributes_of(inode);
    fuse_reply_attr(request, &found, KEPT_S);
}

static void open_file(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file)
{
    (void)inode;
    file->keep_cache = 1;
    fuse_reply_open(request, file);
}

static void read_file(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *file)
{
    (void)inode, (void)file;
    size_t begin = offset < (off_t)sizeof bytes ? (size_t)offset : sizeof bytes;
    size_t left = sizeof bytes - begin;
    fuse_reply_buf(request, bytes + begin, size < left ? size : left);
}

static void list(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *file)
{
    (void)size, (void)file;
    char answer[256];
    size_t length = 0;
    if (offset == 0) {
        struct fuse_entry_param entry = entry_of(inode + 1);
        length = fuse_add_direntry_plus(request, answer, sizeof answer, names[inode + 1], &entry, 1);
    }
    fuse_reply_buf(request, answer, length);
}

static const struct fuse_lowlevel_ops handlers = {
    .lookup = look_up, .getattr = get_attributes, .open = open_file, .read = read_file, .readdirplus = list};

int main(int argc, char **argv)
{
    struct fuse_args options = FUSE_ARGS_INIT(argc - 1, argv); /* the mountpoint comes last */
    struct fuse_session *session = fuse_session_new(&options, &handlers, sizeof handlers, NULL);
    if (session == NULL || fuse_set_signal_handlers(session) != 0 || fuse_session_mount(session, argv[argc - 1]) != 0)
        return 1;
    int failed = fuse_session_loop(session) != 0;
    fuse_session_unmount(session);
    fuse_remove_signal_handlers(session);
    fuse_session_destroy(session);
    return failed;
}
