/* Loaded into the hub by LD_PRELOAD, this writes down every change of a file below MUSTER_CUT_STATE that is not on disk
 * yet, and every sync, so that a power cut can be played afterwards: see cut.rs, which also says what the records are.
 * Each change is written down before it is made, with the bytes that it replaces; a sync when it begins and when it ends.
 * What is not seen: memory maps, and system calls that do not go through libc. The engine makes its changes through libc,
 * but for the rename of one file after it was synced. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

struct record { uint32_t kind, path_bytes; uint64_t file, offset, old_size, old_bytes, new_bytes; };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int records = -1;
static const char *state, *graves;
static uint64_t last_sync, last_grave;

#define REAL(result, name, ...) \
  static result (*real_##name)(__VA_ARGS__); \
  if (!real_##name) *(void **)&real_##name = dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void) {
  state = getenv("MUSTER_CUT_STATE"); graves = getenv("MUSTER_CUT_GRAVES");
  const char *to = getenv("MUSTER_CUT_RECORDS");
  if (state && graves && to) {
    REAL(int, open, const char *, int, ...);
    records = real_open(to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  }
}

/* Numbers of one process are not those of another. */
static uint64_t own_number(uint64_t number) { return (uint64_t)getpid() << 32 | number; }

static int is_inside(const char *path) {
  size_t length = state ? strlen(state) : 0;
  return records >= 0 && path && !strncmp(path, state, length) && (path[length] == '/' || !path[length]);
}

static int find(int fd, struct stat *found, char *path) {
  char link[40];
  if (records < 0 || fd == records || fstat(fd, found) || !(S_ISREG(found->st_mode) || S_ISDIR(found->st_mode))) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  return is_inside(path);
}

static void put(const void *bytes, size_t count) {
  REAL(ssize_t, write, int, const void *, size_t);
  const char *at = bytes;
  while (count) {
    ssize_t done = real_write(records, at, count);
    if (done <= 0) abort();
    at += done; count -= (size_t)done;
  }
}

static void note(char kind, const char *path, uint64_t file, uint64_t offset, uint64_t old_size,
                 const void *old, uint64_t old_bytes, const struct iovec *new, int parts) {
  struct record head = {(uint32_t)kind, (uint32_t)strlen(path), file, offset, old_size, old_bytes, 0};
  for (int i = 0; i < parts; i++) head.new_bytes += new[i].iov_len;
  put(&head, sizeof head); put(path, head.path_bytes); put(old, old_bytes);
  for (int i = 0; i < parts; i++) put(new[i].iov_base, new[i].iov_len);
}

/* The bytes from offset on, at most count, without the zeros at their end. */
static char *read_old(const char *path, uint64_t offset, uint64_t count, uint64_t *found) {
  REAL(int, open, const char *, int, ...);
  REAL(int, close, int);
  int fd = count ? real_open(path, O_RDONLY | O_CLOEXEC) : -1;
  char *old = malloc(count ? count : 1);
  *found = 0;
  if (!old) abort();
  while (fd >= 0 && *found < count) {
    ssize_t got = pread(fd, old + *found, count - *found, (off_t)(offset + *found));
    if (got <= 0) break;
    *found += (uint64_t)got;
  }
  while (*found && !old[*found - 1]) --*found;
  if (fd >= 0) real_close(fd);
  return old;
}

/* Called with the lock. */
static void note_write(int fd, const struct stat *before, const char *path, off_t at, const struct iovec *parts, int count) {
  uint64_t bytes = 0, old_bytes = 0, size = (uint64_t)before->st_size, offset = (uint64_t)at;
  for (int i = 0; i < count; i++) bytes += parts[i].iov_len;
  if (fcntl(fd, F_GETFL) & O_APPEND) offset = size;
  uint64_t overlap = offset >= size ? 0 : size - offset < bytes ? size - offset : bytes;
  char *old = read_old(path, offset, overlap, &old_bytes);
  note('W', path, before->st_ino, offset, size, old, old_bytes, parts, count);
  free(old);
}

#define WRITE(fd, at, parts, count, call) \
  struct stat found; char path[PATH_MAX]; \
  if (!find(fd, &found, path)) return call; \
  pthread_mutex_lock(&lock); fstat(fd, &found); \
  note_write(fd, &found, path, at, parts, count); \
  ssize_t done = call; \
  pthread_mutex_unlock(&lock); return done

ssize_t write(int fd, const void *bytes, size_t count) {
  REAL(ssize_t, write, int, const void *, size_t);
  struct iovec part = {(void *)bytes, count};
  WRITE(fd, lseek(fd, 0, SEEK_CUR), &part, 1, real_write(fd, bytes, count));
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
  REAL(ssize_t, writev, int, const struct iovec *, int);
  WRITE(fd, lseek(fd, 0, SEEK_CUR), parts, count, real_writev(fd, parts, count));
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t at) {
  REAL(ssize_t, pwrite64, int, const void *, size_t, off_t);
  struct iovec part = {(void *)bytes, count};
  WRITE(fd, at, &part, 1, real_pwrite64(fd, bytes, count, at));
}
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return pwrite64(fd, bytes, count, at); }

int ftruncate64(int fd, off_t size) {
  REAL(int, ftruncate64, int, off_t);
  struct stat found; char path[PATH_MAX];
  if (!find(fd, &found, path)) return real_ftruncate64(fd, size);
  pthread_mutex_lock(&lock);
  fstat(fd, &found);
  uint64_t old_bytes = 0, cut = found.st_size > size ? (uint64_t)(found.st_size - size) : 0;
  char *old = read_old(path, (uint64_t)size, cut, &old_bytes);
  note('T', path, found.st_ino, (uint64_t)size, (uint64_t)found.st_size, old, old_bytes, 0, 0);
  free(old);
  int done = real_ftruncate64(fd, size);
  pthread_mutex_unlock(&lock);
  return done;
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static int sync_with(int fd, int (*real)(int)) {
  struct stat found; char path[PATH_MAX];
  if (!find(fd, &found, path)) return real(fd);
  pthread_mutex_lock(&lock);
  uint64_t token = own_number(++last_sync);
  note('B', path, found.st_ino, token, 0, 0, 0, 0, 0);
  pthread_mutex_unlock(&lock);
  int done = real(fd);
  if (!done) {
    pthread_mutex_lock(&lock);
    note('E', path, found.st_ino, token, 0, 0, 0, 0, 0);
    pthread_mutex_unlock(&lock);
  }
  return done;
}
int fsync(int fd) { REAL(int, fsync, int); return sync_with(fd, real_fsync); }
int fdatasync(int fd) { REAL(int, fdatasync, int); return sync_with(fd, real_fdatasync); }

/* What goes keeps its bytes under a number, in case it did not go. */
static uint64_t bury(const char *path) {
  char grave[PATH_MAX];
  uint64_t number = own_number(++last_grave);
  snprintf(grave, sizeof grave, "%s/%llu", graves, (unsigned long long)number);
  return link(path, grave) ? 0 : number;
}

int unlink(const char *path) {
  REAL(int, unlink, const char *);
  if (!is_inside(path)) return real_unlink(path);
  pthread_mutex_lock(&lock);
  uint64_t grave = bury(path);
  if (grave) note('U', path, 0, grave, 0, 0, 0, 0, 0);
  int done = real_unlink(path);
  pthread_mutex_unlock(&lock);
  return done;
}

int rename(const char *from, const char *to) {
  REAL(int, rename, const char *, const char *);
  if (!is_inside(from) || !is_inside(to)) return real_rename(from, to);
  pthread_mutex_lock(&lock);
  struct iovec part = {(void *)from, strlen(from)};
  note('R', to, 0, bury(to), 0, 0, 0, &part, 1);
  int done = real_rename(from, to);
  pthread_mutex_unlock(&lock);
  return done;
}

static void note_open(const char *path, int flags) {
  struct stat found;
  if (!is_inside(path) || !(flags & (O_CREAT | O_TRUNC))) return;
  pthread_mutex_lock(&lock);
  if (stat(path, &found)) {
    if (flags & O_CREAT) note('C', path, 0, 0, 0, 0, 0, 0, 0);
  } else if (flags & O_TRUNC) {
    uint64_t old_bytes = 0;
    char *old = read_old(path, 0, (uint64_t)found.st_size, &old_bytes);
    note('T', path, found.st_ino, 0, (uint64_t)found.st_size, old, old_bytes, 0, 0);
    free(old);
  }
  pthread_mutex_unlock(&lock);
}

#define OPEN(name) \
  int name(const char *path, int flags, ...) { \
    REAL(int, name, const char *, int, ...); \
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
    note_open(path, flags); \
    return real_##name(path, flags, mode); }
OPEN(open)
OPEN(open64)
