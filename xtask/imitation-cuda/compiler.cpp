// NVRTC for a CPU: the CUDA source of a kernel becomes a library, and its path is what driver.cpp loads as "PTX".
//
// Where IMITATION_NVRTC names a libnvrtc, a kernel must compile there first, for the architecture that the caller names.
// Libraries are kept in the folder IMITATION_CUDA under the hash of their source.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <functional>
#include <string>
#include <unistd.h>

enum Result { SUCCESS = 0, COMPILATION = 6 };

struct Program {
    std::string source, library, log;
    void *genuine;
};

// A function of the genuine library; null without one.
template <typename F> static F *genuine(const char *name) {
    static void *const library = [] {
        const char *path = getenv("IMITATION_NVRTC");
        void *opened = path && *path ? dlopen(path, RTLD_NOW) : nullptr;
        if (path && *path && !opened) fprintf(stderr, "imitation of CUDA: %s\n", dlerror()), abort();
        return opened;
    }();
    return library ? reinterpret_cast<F *>(dlsym(library, name)) : nullptr;
}

extern "C" {

const char *nvrtcGetErrorString(Result) { return "refused by the imitation of NVRTC, or by NVRTC"; }

Result nvrtcCreateProgram(Program **program, const char *source, const char *name, int, const char *const *,
                          const char *const *) {
    *program = new Program{source, "", "", nullptr};
    using Create = Result(void **, const char *, const char *, int, const char *const *, const char *const *);
    if (auto create = genuine<Create>("nvrtcCreateProgram"))
        return create(&(*program)->genuine, source, name, 0, nullptr, nullptr);
    return SUCCESS;
}

Result nvrtcDestroyProgram(Program **program) { return delete *program, SUCCESS; }

Result nvrtcCompileProgram(Program *program, int count, const char *const *options) {
    const char *here = getenv("IMITATION_CUDA");
    if (!here) fprintf(stderr, "imitation of CUDA: start it with run.sh\n"), abort();
    const std::string base = std::string(here) + "/" + std::to_string(std::hash<std::string>{}(program->source));
    program->library = base + ".so";
    if (access(program->library.c_str(), F_OK) == 0) return SUCCESS;

    if (auto compile = genuine<Result(void *, int, const char *const *)>("nvrtcCompileProgram")) {
        if (compile(program->genuine, count, options) != SUCCESS) {
            size_t size = 0;
            genuine<Result(void *, size_t *)>("nvrtcGetProgramLogSize")(program->genuine, &size);
            program->log.resize(size);
            genuine<Result(void *, char *)>("nvrtcGetProgramLog")(program->genuine, program->log.data());
            return COMPILATION;
        }
    }
    // Other processes may compile the same kernel at this moment.
    const std::string own = base + "-" + std::to_string(getpid());
    FILE *file = fopen((own + ".cu").c_str(), "w");
    if (!file || fputs(program->source.c_str(), file) < 0 || fclose(file) != 0) {
        program->log = "cannot write " + own + ".cu";
        return COMPILATION;
    }
    if (system((std::string("python3 ") + here + "/to_cpu.py " + own).c_str()) == 0 &&
        rename((own + ".so").c_str(), program->library.c_str()) == 0)
        return SUCCESS;
    program->log = own + ".cu does not compile for this CPU";
    return COMPILATION;
}

Result nvrtcGetPTXSize(Program *program, size_t *size) { return *size = program->library.size() + 1, SUCCESS; }
Result nvrtcGetPTX(Program *program, char *out) { return strcpy(out, program->library.c_str()), SUCCESS; }
Result nvrtcGetProgramLogSize(Program *program, size_t *size) { return *size = program->log.size() + 1, SUCCESS; }
Result nvrtcGetProgramLog(Program *program, char *out) { return strcpy(out, program->log.c_str()), SUCCESS; }
}
