// Gives: `fs` as a function can have it: whatever is looked for is not there (ENOENT), and nothing can be written (EROFS),
// with the errors Node has for both. Packages that look for optional files go on.
//
// Absent: descriptors, watching, directories. A bundle that carries files publishes `portico.packageFile(path)`, which gives
// a file's bytes or undefined; then those files can be read.

const { portico } = internal;
const { Buffer } = require("buffer");
const { argType, mustBe, unavailable } = require("internal/errors");

const constants = {
  F_OK: 0, R_OK: 4, W_OK: 2, X_OK: 1, O_RDONLY: 0, O_WRONLY: 1, O_RDWR: 2, O_CREAT: 64, O_EXCL: 128, O_NOCTTY: 256, O_TRUNC: 512,
  O_APPEND: 1024, O_DIRECTORY: 65536, O_NOFOLLOW: 131072, O_SYNC: 1052672, O_NONBLOCK: 2048, S_IFMT: 61440, S_IFREG: 32768,
  S_IFDIR: 16384, S_IFCHR: 8192, S_IFBLK: 24576, S_IFIFO: 4096, S_IFLNK: 40960, S_IFSOCK: 49152, S_IRWXU: 448, S_IRUSR: 256,
  S_IWUSR: 128, S_IXUSR: 64, S_IRWXG: 56, S_IRGRP: 32, S_IWGRP: 16, S_IXGRP: 8, S_IRWXO: 7, S_IROTH: 4, S_IWOTH: 2, S_IXOTH: 1,
  COPYFILE_EXCL: 1, COPYFILE_FICLONE: 2, COPYFILE_FICLONE_FORCE: 4, UV_FS_COPYFILE_EXCL: 1, UV_FS_COPYFILE_FICLONE: 2,
  UV_FS_COPYFILE_FICLONE_FORCE: 4, UV_FS_SYMLINK_DIR: 1, UV_FS_SYMLINK_JUNCTION: 2,
};

const CAUSES = { ENOENT: [-2, "no such file or directory"], EROFS: [-30, "read-only file system"], EBADF: [-9, "bad file descriptor"], EINVAL: [-22, "invalid argument"] };

function refusal(code, syscall, path) {
  const [errno, words] = CAUSES[code];
  return Object.assign(new Error(`${code}: ${words}, ${syscall}${path === undefined ? "" : ` '${path}'`}`), { errno, code, syscall, path });
}

function pathOf(path) {
  if (typeof path === "string") return path;
  if (Buffer.isBuffer(path)) return path.toString();
  if (path !== null && typeof path === "object" && path.protocol === "file:") return require("url").fileURLToPath(path);
  throw argType("path", ["string", "Buffer", "URL"], path);
}

function contents(path, syscall) {
  const name = pathOf(path);
  const bytes = portico.packageFile?.(require("path").resolve(name));
  if (bytes === undefined) throw refusal("ENOENT", syscall, name);
  return Buffer.from(bytes);
}

class Stats {
  constructor(size) {
    Object.assign(this, { dev: 0, mode: constants.S_IFREG | 0o444, nlink: 1, uid: 1000, gid: 1000, rdev: 0, blksize: 4096, ino: 0, size, blocks: Math.ceil(size / 512) });
    for (const name of ["atime", "mtime", "ctime", "birthtime"]) {
      this[`${name}Ms`] = 0;
      this[name] = new Date(0);
    }
  }
  isFile() { return true; }
  isDirectory() { return false; }
  isSymbolicLink() { return false; }
  isFIFO() { return false; }
  isSocket() { return false; }
  isBlockDevice() { return false; }
  isCharacterDevice() { return false; }
}
class Dirent {}
class Dir {}

/** What can be done, each once; the callback and promise forms are made from these. */
const doing = {
  access(path, mode = 0) {
    contents(path, "access");
    if (mode & constants.W_OK) throw refusal("EROFS", "access", pathOf(path));
  },
  exists(path) {
    try {
      contents(path, "access");
      return true;
    } catch {
      return false;
    }
  },
  lstat(path, options) { return stat(path, options, "lstat"); },
  stat(path, options) { return stat(path, options, "stat"); },
  readFile(path, options) {
    if (typeof path === "number") throw refusal("EBADF", "read");
    const encoding = typeof options === "string" ? options : options?.encoding;
    const bytes = contents(path, "open");
    return encoding ? bytes.toString(encoding) : bytes;
  },
  realpath(path) {
    contents(path, "lstat");
    return require("path").resolve(pathOf(path));
  },
  readdir(path) { throw refusal("ENOENT", "scandir", pathOf(path)); },
  readlink(path) { throw refusal("ENOENT", "readlink", pathOf(path)); },
  opendir(path) { throw refusal("ENOENT", "opendir", pathOf(path)); },
  open(path, flags) { throw refusal(flags === undefined || flags === "r" ? "ENOENT" : "EROFS", "open", pathOf(path)); },
  statfs(path) { throw refusal("ENOENT", "statfs", pathOf(path)); },
};

function stat(path, options, syscall) {
  try {
    return new Stats(contents(path, syscall).length);
  } catch (error) {
    if (options?.throwIfNoEntry === false && error.code === "ENOENT") return undefined;
    throw error;
  }
}

/** What would change a file, with the system call Node names in the error. */
const CHANGING = {
  appendFile: "open", chmod: "chmod", chown: "chown", copyFile: "copyfile", cp: "cp", lchmod: "lchmod", lchown: "lchown", link: "link",
  lutimes: "lutime", mkdir: "mkdir", mkdtemp: "mkdtemp", rename: "rename", rm: "rm", rmdir: "rmdir", symlink: "symlink",
  truncate: "open", unlink: "unlink", utimes: "utime", writeFile: "open",
};
for (const [name, syscall] of Object.entries(CHANGING)) {
  doing[name] = (path) => { throw refusal("EROFS", syscall, typeof path === "number" ? undefined : pathOf(path)); };
}
for (const name of ["close", "fchmod", "fchown", "fdatasync", "fstat", "fsync", "ftruncate", "futimes", "read", "readv", "write", "writev"]) {
  doing[name] = () => { throw refusal("EBADF", name); };
}

const promises = { constants };
for (const name of Object.keys(doing)) {
  const work = doing[name];
  module.exports[`${name}Sync`] = { [`${name}Sync`](...values) { return work(...values); } }[`${name}Sync`];
  module.exports[name] = {
    [name](...values) {
      const callback = values.pop();
      mustBe("function", "cb", callback);
      let result;
      try {
        result = work(...values);
      } catch (error) {
        process.nextTick(callback, error);
        return;
      }
      if (name === "exists") process.nextTick(callback, result);
      else if (result === undefined) process.nextTick(callback, null);
      else process.nextTick(callback, null, result);
    },
  }[name];
  if (!["exists", "close", "read", "readv", "write", "writev"].includes(name) && !/^f[a-z]/.test(name)) {
    promises[name] = { async [name](...values) { return work(...values); } }[name];
  }
}
module.exports.realpath.native = module.exports.realpath;
module.exports.realpathSync.native = module.exports.realpathSync;
promises.watch = async function* watch() { throw unavailable("fs.promises.watch"); };

function createReadStream(path, options) {
  const { Readable } = require("stream");
  const encoding = typeof options === "string" ? options : options?.encoding;
  const stream = new Readable({
    encoding,
    read() {
      try {
        const bytes = contents(path, "open");
        this.push(bytes.subarray(options?.start ?? 0, options?.end === undefined ? undefined : options.end + 1));
        this.push(null);
      } catch (error) {
        this.destroy(error);
      }
    },
  });
  return Object.assign(stream, { path });
}

function createWriteStream(path) {
  const { Writable } = require("stream");
  const refuse = (callback) => callback(refusal("EROFS", "open", pathOf(path)));
  return Object.assign(new Writable({ construct: refuse, write: (chunk, encoding, callback) => refuse(callback) }), { path });
}

function ReadStream(path, options) { return createReadStream(path, options); }
function WriteStream(path, options) { return createWriteStream(path, options); }

Object.assign(module.exports, {
  Dir, Dirent, FileReadStream: ReadStream, FileWriteStream: WriteStream, ReadStream, Stats, WriteStream,
  F_OK: 0, R_OK: 4, W_OK: 2, X_OK: 1,
  constants, createReadStream, createWriteStream, promises,
  _toUnixTimestamp: (time) => Number(time) / 1000,
  openAsBlob: async (path) => new Blob([contents(path, "open")]),
  unwatchFile() {},
  watch() { throw unavailable("fs.watch"); },
  watchFile() { throw unavailable("fs.watchFile"); },
});
