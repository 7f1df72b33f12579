/* Have a process see another processor: preloaded, it answers the CPUID instruction as the one that CPUID_AS names.

   cc -O2 -shared -fPIC -o cpuid.so cpuid.c
   CPUID_AS=zen2 LD_PRELOAD=$PWD/cpuid.so python ...

   Libraries for arithmetic choose their code by CPUID's vendor, model, features and caches. Where the processor can
   (`cpuid_fault` in /proc/cpuinfo) Linux has CPUID raise SIGSEGV, arch_prctl(2), and the handler below answers it:
   vendor, model and caches are the other processor's, features of leaf 7 (AVX2, AVX-512) those that both have. Whatever runs, runs at full speed
   on the processor that is there. Processes started with exec have the real CPUID until this file is loaded there too.
   glibc chooses its own functions before anything can be preloaded. Sources: Intel's manual, volume 2A, "CPUID"; AMD's,
   volume 3, appendix E. */

#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_SET_CPUID 0x1012
#define KB 1024u
#define MB (1024u * KB)

struct cache {
    uint32_t type, level, size, ways; /* type: 1 data, 2 instructions, 3 both; ways of associativity */
};

struct processor {
    const char *name, *vendor, *brand;
    uint32_t signature;                    /* leaf 1, EAX: family, model, stepping */
    uint32_t seven_ebx, seven_ecx, seven_edx; /* leaf 7: features that it may have */
    uint32_t seven_one_eax;                /* leaf 7, subleaf 1 */
    uint32_t last, last_extended;          /* highest leaves */
    struct cache caches[4];
};

/* Bits of leaf 7, EBX: what any processor with AVX2 has, then AVX-512's foundation with CD, BW, DQ, VL. */
#define AVX2 (1u << 0 | 1u << 3 | 1u << 5 | 1u << 7 | 1u << 8)
#define LATER (1u << 18 | 1u << 19 | 1u << 20 | 1u << 23 | 1u << 24) /* RDSEED, ADX, SMAP, CLFLUSHOPT, CLWB */
#define AVX512 (1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31)

static const struct processor processors[] = {
    {"haswell", "GenuineIntel", "Intel(R) Core(TM) i7-4770 CPU @ 3.40GHz", 0x000306c3,
     AVX2 | 1u << 9 | 1u << 10, 0, 0, 0, 0x0d, 0x80000008,
     {{1, 1, 32 * KB, 8}, {2, 1, 32 * KB, 8}, {3, 2, 256 * KB, 8}, {3, 3, 8 * MB, 16}}},
    {"skylake", "GenuineIntel", "Intel(R) Xeon(R) Platinum 8160 CPU @ 2.10GHz", 0x00050654,
     AVX2 | LATER | AVX512 | 1u << 9 | 1u << 10, 1u << 3, 0, 0, 0x16, 0x80000008,
     {{1, 1, 32 * KB, 8}, {2, 1, 32 * KB, 8}, {3, 2, 1 * MB, 16}, {3, 3, 33 * MB, 11}}},
    {"zen2", "AuthenticAMD", "AMD EPYC 7742 64-Core Processor", 0x00830f10,
     AVX2 | LATER | 1u << 29, 1u << 2 | 1u << 22, 0, 0, 0x10, 0x80000020,
     {{1, 1, 32 * KB, 8}, {2, 1, 32 * KB, 8}, {3, 2, 512 * KB, 8}, {3, 3, 16 * MB, 16}}},
    {"zen4", "AuthenticAMD", "AMD EPYC 9654 96-Core Processor", 0x00a10f11,
     AVX2 | LATER | AVX512 | 1u << 9 | 1u << 10 | 1u << 21 | 1u << 29,
     1u << 1 | 1u << 2 | 1u << 3 | 1u << 6 | 1u << 8 | 1u << 9 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 14 | 1u << 22,
     1u << 4, 1u << 5, 0x10, 0x80000028,
     {{1, 1, 32 * KB, 8}, {2, 1, 32 * KB, 8}, {3, 2, 1 * MB, 8}, {3, 3, 32 * MB, 16}}},
};

static const struct processor *shown;

static int is_amd(void) { return shown->vendor[0] == 'A'; }

/* A cache as leaf 4 (Intel) and leaf 0x8000001D (AMD) describe it; one core has it to itself. */
static void describe_cache(uint32_t index, uint32_t r[4]) {
    memset(r, 0, 4 * sizeof *r);
    if (index >= 4) return;
    const struct cache *cache = &shown->caches[index];
    r[0] = cache->type | cache->level << 5 | 1u << 8;
    r[1] = (64 - 1) | (cache->ways - 1) << 22;
    r[2] = cache->size / (cache->ways * 64) - 1;
}

static void vendor(uint32_t r[4]) {
    memcpy(&r[1], shown->vendor, 4);
    memcpy(&r[3], shown->vendor + 4, 4);
    memcpy(&r[2], shown->vendor + 8, 4);
}

/* Change what the real processor answers (EAX, EBX, ECX, EDX) to a leaf and subleaf. */
static void answer(uint32_t leaf, uint32_t subleaf, uint32_t r[4]) {
    char brand[48] = {0};
    if (leaf >= 0x40000000 && leaf < 0x80000000) return; /* the hypervisor's */
    if ((leaf < 0x80000000 && leaf > shown->last) || leaf > shown->last_extended) {
        memset(r, 0, 4 * sizeof *r);
        return;
    }
    switch (leaf) {
    case 0:
        r[0] = shown->last;
        vendor(r);
        break;
    case 1:
        r[0] = shown->signature;
        break;
    case 2: /* Intel: "see leaf 4" */
        r[0] = is_amd() ? 0 : 0x00feff01, r[1] = 0, r[2] = 0, r[3] = is_amd() ? 0 : 0xff;
        break;
    case 4:
        is_amd() ? memset(r, 0, 4 * sizeof *r) : describe_cache(subleaf, r);
        break;
    case 7:
        if (subleaf == 0) {
            r[0] = shown->seven_one_eax ? 1 : 0;
            r[1] &= shown->seven_ebx, r[2] &= shown->seven_ecx, r[3] &= shown->seven_edx;
        } else {
            r[0] = subleaf == 1 ? r[0] & shown->seven_one_eax : 0, r[1] = r[2] = r[3] = 0;
        }
        break;
    case 0x80000000:
        r[0] = shown->last_extended;
        if (is_amd()) vendor(r); else r[1] = r[2] = r[3] = 0;
        break;
    case 0x80000002: case 0x80000003: case 0x80000004:
        strncpy(brand, shown->brand, sizeof brand - 1);
        memcpy(r, brand + 16 * (leaf - 0x80000002), 16);
        break;
    case 0x80000005: /* AMD: caches of the first level, data and instructions, in KB */
        r[0] = r[1] = 0;
        r[2] = is_amd() ? shown->caches[0].size / KB << 24 | 8u << 16 | 1u << 8 | 64 : 0;
        r[3] = is_amd() ? shown->caches[1].size / KB << 24 | 8u << 16 | 1u << 8 | 64 : 0;
        break;
    case 0x80000006: /* second level in KB, and AMD's third in units of 512 KB */
        r[0] = r[1] = 0;
        r[2] = shown->caches[2].size / KB << 16 | 6u << 12 | 1u << 8 | 64;
        r[3] = is_amd() ? shown->caches[3].size / (512 * KB) << 18 | 8u << 12 | 1u << 8 | 64 : 0;
        break;
    case 0x8000001d:
        describe_cache(subleaf, r);
        break;
    }
}

static long allow_cpuid(long allowed) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "0"(SYS_arch_prctl), "D"(ARCH_SET_CPUID), "S"(allowed)
                     : "rcx", "r11", "memory");
    return result;
}

static struct sigaction before;

static void on_fault(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *code = (const uint8_t *)registers[REG_RIP];
    if (info->si_code != SI_KERNEL || code[0] != 0x0f || code[1] != 0xa2) { /* not CPUID: as if nobody were here */
        sigaction(SIGSEGV, &before, NULL);
        return;
    }
    uint32_t r[4], leaf = registers[REG_RAX], subleaf = registers[REG_RCX];
    allow_cpuid(1);
    __cpuid_count(leaf, subleaf, r[0], r[1], r[2], r[3]);
    allow_cpuid(0);
    answer(leaf, subleaf, r);
    registers[REG_RAX] = r[0], registers[REG_RBX] = r[1], registers[REG_RCX] = r[2], registers[REG_RDX] = r[3];
    registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("CPUID_AS");
    for (size_t n = 0; name && n < sizeof processors / sizeof *processors; n++)
        if (!strcmp(processors[n].name, name)) shown = &processors[n];
    if (!shown) {
        fprintf(stderr, "cpuid.so: CPUID_AS names none of haswell, skylake, zen2, zen4\n");
        _exit(1);
    }
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGSEGV, &action, &before);
    if (allow_cpuid(0)) {
        fprintf(stderr, "cpuid.so: this processor or kernel cannot have CPUID fault\n");
        _exit(1);
    }
}
