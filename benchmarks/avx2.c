/* A machine with AVX2 and FMA alone, for one process and what it starts: CPUID hides AVX-512, AMX and VNNI, from torch,
   oneDNN, onnxruntime and all else that asks. Needs an Intel CPU with CPUID faulting (cpuid_fault in /proc/cpuinfo).

       gcc -O2 -fPIC -shared -o avx2.so benchmarks/avx2.c -ldl
       LD_PRELOAD=$PWD/avx2.so python benchmarks/serving.py --rounds 3 --seconds 6 --clients 1 32 --peers litserve

   Speeds are those of this core without its wide registers, not of an older core. */
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <dlfcn.h>
#include <errno.h>
#include <cpuid.h>
#define ARCH_SET_CPUID 0x1012
static struct sigaction next_segv;
static void set(int on){ syscall(SYS_arch_prctl, ARCH_SET_CPUID, on); }
static void handler(int sig, siginfo_t *info, void *ctx){
  ucontext_t *u=ctx; greg_t *r=u->uc_mcontext.gregs; unsigned char *ip=(unsigned char*)r[REG_RIP];
  if(info->si_code==SI_KERNEL && ip[0]==0x0f && ip[1]==0xa2){
    unsigned a=r[REG_RAX],c=r[REG_RCX],b,d,leaf=a,sub=c;
    set(1); __cpuid_count(leaf,sub,a,b,c,d); set(0);
    if(leaf==7&&sub==0){
      b&=~((1u<<16)|(1u<<17)|(1u<<21)|(1u<<26)|(1u<<27)|(1u<<28)|(1u<<30)|(1u<<31));
      c&=~((1u<<1)|(1u<<6)|(1u<<11)|(1u<<12)|(1u<<14));
      d&=~((1u<<2)|(1u<<3)|(1u<<8)|(1u<<22)|(1u<<23)|(1u<<24)|(1u<<25));
    }
    if(leaf==7&&sub==1){ a&=~((1u<<4)|(1u<<5)|(1u<<21)|(1u<<23)); d&=~((1u<<4)|(1u<<5)|(1u<<8)|(1u<<10)|(1u<<19)); }
    if(leaf==0x19||leaf==0x1d||leaf==0x1e||leaf==0x24){a=b=c=d=0;}
    r[REG_RAX]=a;r[REG_RBX]=b;r[REG_RCX]=c;r[REG_RDX]=d; r[REG_RIP]+=2; return;
  }
  if(next_segv.sa_flags&SA_SIGINFO && next_segv.sa_sigaction) next_segv.sa_sigaction(sig,info,ctx);
  else if(next_segv.sa_handler && next_segv.sa_handler!=SIG_IGN) next_segv.sa_handler(sig);
  else { signal(SIGSEGV,SIG_DFL); }
}
typedef int (*sa_t)(int,const struct sigaction*,struct sigaction*);
int sigaction(int s,const struct sigaction*a,struct sigaction*o){
  static sa_t real; if(!real) real=(sa_t)dlsym(RTLD_NEXT,"sigaction");
  if(s==SIGSEGV){ if(o)*o=next_segv; if(a)next_segv=*a; return 0; }
  return real(s,a,o);
}
typedef void (*sh)(int);
sh signal(int s, sh h){ struct sigaction a,o; memset(&a,0,sizeof a); a.sa_handler=h; a.sa_flags=SA_RESTART; 
  if(sigaction(s,&a,&o)) return SIG_ERR; return o.sa_handler; }
__attribute__((constructor)) static void start(void){
  sa_t real=(sa_t)dlsym(RTLD_NEXT,"sigaction"); struct sigaction a; memset(&a,0,sizeof a);
  a.sa_sigaction=handler; a.sa_flags=SA_SIGINFO|SA_NODEFER; real(SIGSEGV,&a,&next_segv); set(0);
}
