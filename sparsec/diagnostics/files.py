"""SP07xx: files, the cache, the environment."""

from __future__ import annotations

from sparsec.diagnostics.core import Diagnostic, Example


class CannotRead(Diagnostic, code="SP0701", title="file can't be read"):
    """The file does not exist, is no ordinary file, or may not be read.

    A name in `use` or `blocks` is relative to the folder of the file that it stands in.
    """

    name: str
    reason: str
    hint: str = ""
    message = "can't read `{name}`: {reason}"
    label = "{reason}"
    help = "{hint}"
    example = Example('use "nowhere.spat"\npattern p = causal\n')
    cure = "Correct the name."


class NotQuoted(Diagnostic, code="SP0707", title="errors in a file that is not quoted"):
    """A file is not in the language, and is none that messages may quote: they end up in public logs.

    Quoted are files that are named on the command line or in Python, and those that they use, as far as they are called
    `.spat`, with links followed, and lie in the folder of the first, in the working folder, or below one of them.
    """

    name: str
    codes: str
    message = "`{name}` has errors: {codes}"
    label = "not quoted"
    help = "is it a file of patterns?  `sparsec check` with its name shows them"
    example = Example('use "notes.txt"\npattern p = causal\n', files={"notes.txt": "nothing to show around\n"})
    cure = "Use a file of patterns; put it beside the text that uses it, with a name that ends in `.spat`."


class CannotWrite(Diagnostic, code="SP0702", title="output can't be written"):
    """The file may not be written to, the folder for the output can't be made or written to, or the disk is full."""

    name: str
    reason: str
    message = "can't write `{name}`: {reason}"
    example = Example("sparsec compile examples/longformer.spat -o /dev/null/build\n", language="shell")
    cure = "Make it writable, or choose another folder with `-o`."


class CacheUnusable(Diagnostic, code="SP0703", title="cache not used", severity="warning"):
    """The folder of the cache can't be made, read or written to, so what was compiled is not kept.

    The operator works all the same; the next process compiles it again.
    """

    folder: str
    reason: str
    message = "the cache in `{folder}` can't be used: {reason}"
    help = "`sparsec cache --info` shows where it is; SPARSEC_CACHE chooses another folder"
    example = Example("SPARSEC_CACHE=/dev/null/cache sparsec verify examples/longformer.spat --n 64\n", "shell")
    cure = "Make the folder writable, or set SPARSEC_CACHE to one that is."


class CacheRefused(Diagnostic, code="SP0704", title="cache entry refused", severity="warning"):
    """An entry of the cache belongs to another user, or others may write to it.  It is code, so it is never run."""

    entry: str
    reason: str
    message = "the cache entry `{entry}` is not used: {reason}"
    help = "`sparsec cache --clear` empties the cache"
    example = Example(
        "chmod -R go+w ~/.cache/sparsec\nsparsec verify examples/longformer.spat --n 64\n", language="shell"
    )
    cure = "Empty the cache with `sparsec cache --clear`, or use a folder of your own."


class EnvironmentLacks(Diagnostic, code="SP0705", title="something is not installed"):
    """What was asked for needs a package, a compiler or a device that this environment lacks.

    `pip install sparsec` brings no torch: `check`, `show`, `cost`, `diff`, `fmt` and `compile` work without, in a
    pre-commit hook for instance.  Operators, `verify`, `bench` and `tune` need it.
    """

    wanted: str
    lacking: str
    hint: str = ""
    message = "{wanted} needs {lacking}"
    help = "{hint}"
    example = Example("sparsec compile examples/longformer.spat -o build --target sm_90 --emit cubin\n", "shell")
    cure = "Install what is named: here `pip install triton`; for torch `pip install 'sparsec[cpu]'` or `[torch]`."


class TunedUnusable(Diagnostic, code="SP0706", title="tuned settings can't be used"):
    """The file of tuned settings, SPARSEC_TUNED or `tuned.json` in the user's folder of settings, is not as
    `sparsec tune` writes it.  Nothing is compiled with settings that nobody measured.
    """

    name: str
    where: str
    problem: str
    message = "`{name}`{where}: {problem}"
    help = "correct or delete it; `sparsec tune` writes a new one; SPARSEC_TUNED= is for none"
    example = Example(
        "echo '[64, 64]' > tuned.json\nSPARSEC_TUNED=tuned.json sparsec compile examples/longformer.spat -o build\n",
        "shell",
    )
    cure = '`{"format": 1, "settings": []}`'


class UnknownTier(Diagnostic, code="SP0708", title="unknown tier of kernels"):
    """The environment variable SPARSEC_TIER says which kernels run on a Hopper GPU: `plain` leaves out those that are
    written for it, `hopper` takes them wherever they can run.  Not set, or empty, the faster ones run.
    """

    found: str
    message = "SPARSEC_TIER must be `plain` or `hopper`, and is `{found}`"
    help = "do not set it: the faster kernels run then"
    example = Example("SPARSEC_TIER=fast sparsec verify examples/longformer.spat --n 64\n", "shell")
    cure = "`SPARSEC_TIER=hopper`, or no SPARSEC_TIER at all"
