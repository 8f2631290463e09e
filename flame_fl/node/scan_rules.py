"""Which names mean what to the scan: modules, functions, methods and file names, each with the key of its finding.

A longer name wins over a shorter one: `importlib.resources` is harmless although `importlib` is not. None: harmless.
"""

import sys
from functools import lru_cache


def _all(key: str, names: str) -> dict[str, str | None]:
    return dict.fromkeys(names.split(), key)


def _set(names: str) -> frozenset[str]:
    return frozenset(names.split())


# A dotted name and everything below it.
NAMES: dict[str, str | None] = {
    **_all(
        "network.module",
        "socket _socket ssl http.client http.server urllib.request urllib3 requests httpx aiohttp ftplib smtplib poplib"
        " imaplib telnetlib nntplib xmlrpc socketserver websockets websocket paramiko fabric asyncssh grpc boto3"
        " botocore s3fs gcsfs adlfs fsspec google.cloud azure pycurl zmq nats kafka redis pymongo psycopg psycopg2"
        " pymysql mysql sqlalchemy dns scapy torch.distributed torch.hub torch.distributed.rpc huggingface_hub"
        " datasets wandb mlflow ray distributed webbrowser asyncore asynchat flask fastapi uvicorn openai"
        " asyncio.open_connection asyncio.start_server asyncio.open_unix_connection asyncio.start_unix_server"
        " logging.handlers.SocketHandler logging.handlers.DatagramHandler logging.handlers.HTTPHandler"
        " logging.handlers.SMTPHandler logging.handlers.SysLogHandler logging.config.listen wsgiref docker",
    ),
    **_all(
        "subprocess.module",
        "subprocess _posixsubprocess pty pexpect sh plumbum invoke os.system os.popen os.fork os.forkpty os.startfile"
        " os.execl os.execle os.execlp os.execlpe os.execv os.execve os.execvp os.execvpe os.spawnl os.spawnle"
        " os.spawnlp os.spawnlpe os.spawnv os.spawnve os.spawnvp os.spawnvpe os.posix_spawn os.posix_spawnp"
        " posix.system posix.fork posix.execv posix.execve posix.posix_spawn nt.system"
        " asyncio.create_subprocess_exec asyncio.create_subprocess_shell",
    ),
    **_all(
        "native.module",
        "ctypes _ctypes cffi _cffi_backend cppyy jpype rpy2 pyximport torch.utils.cpp_extension torch.ops.load_library"
        " torch.classes.load_library numpy.ctypeslib numpy.f2py llvmlite",
    ),
    **_all("native.memory", "mmap multiprocessing.shared_memory"),
    **_all(
        "pickle.module",
        "pickle _pickle cPickle cloudpickle dill shelve marshal jsonpickle joblib.load pandas.read_pickle copyreg"
        " torch.jit.load torch.package torch.serialization.add_safe_globals keras.models.load_model"
        " tensorflow.keras.models.load_model tensorflow.saved_model.load yaml.unsafe_load yaml.full_load"
        " yaml.UnsafeLoader yaml.FullLoader numpy.lib.format.read_array",
    ),
    **_all("pickle.write", "joblib.dump"),
    **_all(
        "dynamic.loader",
        "code codeop runpy imp zipimport importlib.util importlib.machinery importlib.reload importlib.abc"
        " pkgutil.resolve_name pkgutil.get_loader pkgutil.find_loader timeit bdb pdb types.FunctionType types.CodeType"
        " sympy.sympify sympy.parsing",
    ),
    **_all("dynamic.execute", "builtins.eval builtins.exec builtins.compile"),
    **_all("dynamic.getattr", "operator.attrgetter operator.methodcaller"),
    **_all(
        "dynamic.namespace",
        "builtins.globals builtins.locals builtins.vars inspect.currentframe inspect.stack gc.get_objects"
        " gc.get_referrers builtins.__builtins__ builtins.__dict__",
    ),
    **_all("dynamic.internals", "sys._getframe sys._current_frames sys.settrace sys.setprofile"),
    **_all(
        "obfuscation.decode",
        "base64.b64decode base64.b32decode base64.b16decode base64.b85decode base64.a85decode base64.decodebytes"
        " base64.urlsafe_b64decode base64.standard_b64decode binascii.unhexlify binascii.a2b_hex binascii.a2b_base64"
        " codecs.decode codecs.getdecoder codecs.register zlib.decompress bz2.decompress lzma.decompress"
        " gzip.decompress builtins.bytes.fromhex builtins.bytearray.fromhex",
    ),
    **_all("obfuscation.chr", "builtins.chr"),
    **_all("process.modules", "sys.modules sys.meta_path sys.path_hooks sys.path sys.path_importer_cache site"),
    **_all("process.environment", "os.environ os.environb os.getenv os.getenvb os.putenv os.unsetenv"),
    **_all(
        "process.control",
        "signal posix threading _thread multiprocessing concurrent.futures atexit gc joblib.Parallel os.kill os.killpg"
        " os._exit os.abort os.nice os.setuid os.setgid os.ptrace resource faulthandler weakref.finalize"
        " sys.excepthook sys.unraisablehook sys.addaudithook sys.setrecursionlimit torch.multiprocessing psutil",
    ),
    **_all(
        "process.flower",
        "flwr.supercore flwr.supernode flwr.superlink flwr.superexec flwr.proto flwr.cli flwr.common.grpc"
        " flwr.common.secure_aggregation flwr.server.superlink flwr.client.grpc_rere_client",
    ),
    **_all(
        "files.delete",
        "os.remove os.unlink os.rmdir os.removedirs os.rename os.renames os.replace os.link os.symlink os.chmod"
        " os.chown os.truncate os.mkfifo os.mknod shutil.rmtree shutil.move shutil.chown",
    ),
    **_all(
        "files.write",
        "os.makedirs os.mkdir os.write tempfile shutil.copy shutil.copy2 shutil.copyfile shutil.copytree numpy.save"
        " numpy.savez numpy.savez_compressed numpy.savetxt torch.save shutil.make_archive shutil.unpack_archive",
    ),
    **_all(
        "files.read",
        "os.listdir os.scandir os.walk os.open os.read os.readlink glob fileinput linecache io.open sqlite3 dbm"
        " codecs.open io.FileIO io.open_code",
    ),
    "asyncio.open_connection": "network.module",
    "importlib.util.find_spec": None,
}
BUILTINS = _set(
    "eval exec compile __import__ open getattr setattr delattr globals locals vars chr bytes bytearray __builtins__"
    " breakpoint input"
)
# Attributes whose name says enough, whatever they are taken of.
ATTRIBUTES: dict[str, str | None] = {
    **_all(
        "dynamic.internals",
        "__globals__ __builtins__ __subclasses__ __code__ __closure__ __getattribute__ __loader__ f_globals f_locals"
        " f_back f_builtins gi_frame cr_frame tb_frame gi_code co_code",
    ),
    **_all("pickle.module", "read_pickle"),
    **_all("pickle.write", "to_pickle"),
    **_all("files.delete", "unlink rmtree symlink_to hardlink_to rmdir"),
    **_all("files.write", "write_text write_bytes to_csv to_parquet to_excel to_json to_hdf to_feather to_sql savefig"),
    **_all("files.read", "read_text read_bytes iterdir rglob"),
}
HOOKS = _set("__reduce__ __reduce_ex__ __setstate__ __getstate__")
SUSPECT_TEXT = _set("__import__ __builtins__ __globals__ __subclasses__ __code__ __loader__ __getattribute__")
PATCHED_CORE = frozenset({"flwr", "flame_fl", "builtins", "sys", "os", "importlib", "numpy"})
SWITCHES = ("torch.backends", "matplotlib.rcParams")  # attributes that are meant to be set

STANDARD = sys.stdlib_module_names
KNOWN = _set(
    "flame_vetted flwr flame_strategies numpy scipy pandas polars pyarrow sklearn torch torchvision torchaudio"
    " torchmetrics opacus tensorflow keras jax jaxlib flax optax xgboost lightgbm catboost statsmodels lifelines"
    " scikit_survival sksurv matplotlib seaborn plotly PIL cv2 skimage SimpleITK nibabel pydicom monai h5py zarr"
    " anndata scanpy safetensors transformers timm networkx sympy numba joblib tqdm dp_accounting biolearn"
    " bed_reader pgenlib cyvcf2 pysam Bio yaml pydantic attr attrs rich click typer requests httpx cryptography"
    " grpc google setuptools pip packaging typing_extensions einops umap shap imblearn pytorch_lightning lightning"
    " accelerate"
)
INSTALLED = (STANDARD | KNOWN | {"flame_fl"}) - {"flame_strategies", "this", "antigravity"}
"""What a bundle must not carry under the same name. The strategies may come with an app."""


@lru_cache(maxsize=4096)
def rule_of(dotted: str) -> str | None:
    """The key of the longest rule that covers a dotted name."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in NAMES:
            return NAMES[name]
    return None
