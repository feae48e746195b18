/* A stand-in for libnvidia-ml.so.1: the few NVML calls that nexapod-batch makes, answered from a text file.
 *
 * The file is `nvml.txt` beside the library, by the name by which that was loaded: a worker has no variable of a test's.
 * It is read again at each call, so that a test, or a job, changes what the driver says by replacing it. One line a fact, words separated by blanks, a name in the rest of its line:
 *
 *   driver 550.90.07            version; without this line the driver is not loaded
 *   gpu UUID MIB MAJOR MINOR NAME
 *   mig N on|off                GPU N can be divided, and is or is not
 *   instance N UUID MIB NAME    an instance of GPU N
 *   used UUID MIB               memory in use
 *   busy UUID PERCENT
 *   energy UUID MILLIJOULES     without this line energy is not supported
 *   process UUID PID MIB c|g PERCENT
 *   lost UUID                   the GPU has fallen off the bus
 *   xid UUID NUMBER             a critical error, reported once to each who watches
 *   lacks CALL                  that call, by the end of its name, is not supported
 *
 * Built with -DOLD it has no call whose name ends in _v3, as drivers of before 2021.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID = 2, UNSUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, NOT_LOADED = 9, TIMEOUT = 10, LOST = 15 };
enum { MOST = 16, WORDS = 128 };

struct device { char uuid[WORDS], name[WORDS]; unsigned long long mib; int major, minor, parent, mig, lost; };
struct process { char uuid[WORDS]; unsigned pid, busy; unsigned long long mib; char kind; };
struct state {
  char driver[WORDS];
  int devices, processes;
  struct device device[MOST];
  struct process process[64];
};
struct fact { int found; unsigned long long value; };

static FILE *facts(void) {
  Dl_info self;
  char path[4096];
  if (!dladdr((void *)facts, &self) || !strrchr(self.dli_fname, '/')) return NULL;
  snprintf(path, sizeof path, "%.*s/nvml.txt", (int)(strrchr(self.dli_fname, '/') - self.dli_fname), self.dli_fname);
  return fopen(path, "r");
}

static void add(struct state *s, const char *uuid, const char *name, unsigned long long mib, int major, int minor, int parent) {
  if (s->devices >= MOST) return;
  struct device *d = &s->device[s->devices++];
  snprintf(d->uuid, WORDS, "%s", uuid);
  snprintf(d->name, WORDS, "%s", name);
  d->mib = mib; d->major = major; d->minor = minor; d->parent = parent; d->mig = -1;
}

static struct device *find(struct state *s, const char *uuid) {
  for (int i = 0; i < s->devices; i++) if (!strcmp(s->device[i].uuid, uuid)) return &s->device[i];
  return NULL;
}

/* Read everything; 0 when the driver is loaded. GPUs come before instances, in the order of the file. */
static int look(struct state *s) {
  char line[512], a[WORDS], b[WORDS], kind;
  unsigned long long mib;
  unsigned pid, busy;
  int n, major, minor, at;
  memset(s, 0, sizeof *s);
  FILE *file = facts();
  if (!file) return NOT_LOADED;
  while (fgets(line, sizeof line, file)) {
    line[strcspn(line, "\n")] = 0;
    if (sscanf(line, "driver %127s", a) == 1) strcpy(s->driver, a);
    else if (sscanf(line, "gpu %127s %llu %d %d %n", a, &mib, &major, &minor, &at) == 4) add(s, a, line + at, mib, major, minor, -1);
    else if (sscanf(line, "instance %d %127s %llu %n", &n, a, &mib, &at) == 3) add(s, a, line + at, mib, 0, 0, n);
    else if (sscanf(line, "mig %d %127s", &n, a) == 2 && n < s->devices) s->device[n].mig = !strcmp(a, "on");
    else if (sscanf(line, "process %127s %u %llu %c %u", b, &pid, &mib, &kind, &busy) == 5 && s->processes < 64) {
      struct process *p = &s->process[s->processes++];
      strcpy(p->uuid, b); p->pid = pid; p->mib = mib; p->kind = kind; p->busy = busy;
    } else if (sscanf(line, "lost %127s", a) == 1 && find(s, a)) find(s, a)->lost = 1;
  }
  fclose(file);
  return s->driver[0] ? OK : NOT_LOADED;
}

/* The last value of `<word> UUID value`. */
static struct fact fact(const char *word, const char *uuid) {
  char line[512], a[WORDS], b[WORDS];
  unsigned long long value;
  struct fact found = {0, 0};
  FILE *file = facts();
  while (file && fgets(line, sizeof line, file))
    if (sscanf(line, "%127s %127s %llu", a, b, &value) == 3 && !strcmp(a, word) && !strcmp(b, uuid)) found = (struct fact){1, value};
  if (file) fclose(file);
  return found;
}

/* A handle is the number of the device in the file, from 1. */
static int known(void *handle, struct state *s, struct device **d) {
  int why = look(s);
  long number = (long)handle;
  if (why) return why;
  if (number < 1 || number > s->devices) return INVALID;
  *d = &s->device[number - 1];
  return (*d)->lost ? LOST : OK;
}
static int lacks(const char *call) {
  char line[512], a[WORDS];
  int found = 0;
  FILE *file = facts();
  while (file && fgets(line, sizeof line, file)) found |= sscanf(line, "lacks %127s", a) == 1 && strstr(call, a) != NULL;
  if (file) fclose(file);
  return found;
}
#define DEVICE if (lacks(__func__)) return UNSUPPORTED; struct state s; struct device *d; int why = known(handle, &s, &d); if (why) return why

int nvmlInitWithFlags(unsigned flags) { struct state s; (void)flags; return look(&s); }
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return OK; }

const char *nvmlErrorString(int code) {
  switch (code) {
    case OK: return "Success";
    case UNSUPPORTED: return "Not Supported";
    case NOT_FOUND: return "Not Found";
    case NOT_LOADED: return "Driver Not Loaded";
    case TIMEOUT: return "Timeout";
    case LOST: return "GPU is lost";
    default: return "Unknown Error";
  }
}

int nvmlSystemGetDriverVersion(char *out, unsigned length) {
  if (lacks(__func__)) return UNSUPPORTED;
  struct state s; int why = look(&s);
  if (!why) snprintf(out, length, "%s", s.driver);
  return why;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
  struct state s; int why = look(&s);
  *count = 0;
  for (int i = 0; i < s.devices; i++) *count += s.device[i].parent < 0;
  return why;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
  struct state s; int why = look(&s);
  if (why) return why;
  for (int i = 0; i < s.devices; i++)
    if (s.device[i].parent < 0 && index-- == 0) { *handle = (void *)(long)(i + 1); return s.device[i].lost ? LOST : OK; }
  return INVALID;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle) {
  struct state s; int why = look(&s);
  struct device *d = why ? NULL : find(&s, uuid);
  if (why || !d) return why ? why : NOT_FOUND;
  *handle = (void *)(long)(d - s.device + 1);
  return d->lost ? LOST : OK;
}

int nvmlDeviceGetUUID(void *handle, char *out, unsigned length) { DEVICE; snprintf(out, length, "%s", d->uuid); return OK; }
int nvmlDeviceGetName(void *handle, char *out, unsigned length) { DEVICE; snprintf(out, length, "%s", d->name); return OK; }

int nvmlDeviceGetMemoryInfo(void *handle, unsigned long long *total_free_used) {
  DEVICE;
  unsigned long long used = fact("used", d->uuid).value;
  total_free_used[0] = d->mib << 20; total_free_used[1] = (d->mib - used) << 20; total_free_used[2] = used << 20;
  return OK;
}

int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
  DEVICE;
  *major = d->major; *minor = d->minor;
  return d->parent < 0 ? OK : UNSUPPORTED;
}

#ifndef OLD
int nvmlDeviceGetPciInfo_v3(void *handle, void *out) { DEVICE; (void)out; return UNSUPPORTED; }
#endif

int nvmlDeviceGetUtilizationRates(void *handle, unsigned *gpu_memory) {
  DEVICE;
  struct fact found = fact("busy", d->uuid);
  gpu_memory[0] = (unsigned)found.value; gpu_memory[1] = 0;
  return d->parent < 0 ? OK : UNSUPPORTED;
}

int nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *out) {
  DEVICE;
  struct fact found = fact("energy", d->uuid);
  *out = found.value;
  return found.found ? OK : UNSUPPORTED;
}

int nvmlDeviceGetMigMode(void *handle, unsigned *now, unsigned *later) {
  DEVICE;
  if (d->mig < 0) return UNSUPPORTED;
  *now = *later = (unsigned)d->mig;
  return OK;
}

int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *count) { DEVICE; *count = d->mig >= 0 ? 7 : 0; return OK; }

int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **out) {
  DEVICE;
  for (int i = 0; i < s.devices; i++)
    if (s.device[i].parent == (int)((long)handle - 1) && index-- == 0) { *out = (void *)(long)(i + 1); return OK; }
  return NOT_FOUND;
}

/* Events: one set for each process is enough. */
struct event { void *device; unsigned long long type, data; unsigned gpu_instance, compute_instance; };
static int told;

int nvmlEventSetCreate(void **set) { *set = &told; return OK; }
int nvmlEventSetFree(void *set) { (void)set; return OK; }
int nvmlDeviceRegisterEvents(void *handle, unsigned long long types, void *set) {
  DEVICE;
  (void)types; (void)set;
  return d->parent < 0 ? OK : UNSUPPORTED;
}
int nvmlEventSetWait_v2(void *set, struct event *out, unsigned ms) {
  char line[512], a[WORDS];
  unsigned long long number;
  int seen = 0, why = TIMEOUT;
  struct state s;
  FILE *file = facts();
  (void)set; (void)ms;
  look(&s);
  while (file && why == TIMEOUT && fgets(line, sizeof line, file))
    if (sscanf(line, "xid %127s %llu", a, &number) == 2 && find(&s, a) && seen++ == told) {
      memset(out, 0, sizeof *out);
      out->device = (void *)(long)(find(&s, a) - s.device + 1);
      out->data = number;
      told++;
      why = OK;
    }
  if (file) fclose(file);
  return why;
}

struct row { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; };

#ifndef OLD
static int processes(void *handle, unsigned *count, struct row *rows, char kind) {
  DEVICE;
  unsigned room = rows ? *count : 0, found = 0;
  for (int i = 0; i < s.processes; i++)
    if (s.process[i].kind == kind && !strcmp(s.process[i].uuid, d->uuid)) {
      if (found < room) rows[found] = (struct row){s.process[i].pid, s.process[i].mib << 20, 0xFFFFFFFF, 0xFFFFFFFF};
      found++;
    }
  *count = found;
  return found > room ? TOO_SMALL : OK;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, struct row *rows) {
  return lacks(__func__) ? UNSUPPORTED : processes(handle, count, rows, 'c');
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *handle, unsigned *count, struct row *rows) {
  return lacks(__func__) ? UNSUPPORTED : processes(handle, count, rows, 'g');
}
#endif

struct sample { unsigned pid; unsigned long long at; unsigned sm, memory, encoder, decoder; };

int nvmlDeviceGetProcessUtilization(void *handle, struct sample *rows, unsigned *count, unsigned long long since) {
  DEVICE;
  unsigned room = rows ? *count : 0, found = 0;
  (void)since;
  for (int i = 0; i < s.processes; i++)
    if (!strcmp(s.process[i].uuid, d->uuid)) {
      if (found < room) rows[found] = (struct sample){s.process[i].pid, 1, s.process[i].busy, 0, 0, 0};
      found++;
    }
  *count = found;
  return found == 0 ? NOT_FOUND : found > room ? TOO_SMALL : OK;
}
