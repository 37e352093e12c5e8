"""Makes modules of the sources that come as arguments, a name and a text at a time, and starts the warm parent."""
import sys
import types

for name, source in zip(sys.argv[1::2], sys.argv[2::2]):
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name + ".py", "exec"), module.__dict__)
del sys.argv[1:]
sys.modules["warm"].main()
