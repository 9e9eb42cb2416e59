//! Archives to files, under one guard.
//!
//! In: a zip, a tar or a gzipped tar that somebody sent: every name, size and kind in it is a claim. Out: the files below
//! a directory of ours, or the first entry that was refused, named. Links are never made: those of `.bin` folders, which
//! every packed `node_modules` has, are left out as commands nobody can run here, any other is refused.

use std::fs;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use crate::limits::{PATH_BYTES_MAX, RATIO_FREE_BYTES, RATIO_MAX, TREE_BYTES_MAX, TREE_FILES_MAX};
use crate::problem::Problem;

/// How an archive is packed, by its file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Zip,
    Tar,
    TarGz,
}

impl Packing {
    /// Of `node_modules.zip`, `node_modules.tar`, `node_modules.tar.gz` or `node_modules.tgz`.
    pub fn of(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        match () {
            () if name.ends_with(".zip") => Some(Self::Zip),
            () if name.ends_with(".tar") => Some(Self::Tar),
            () if name.ends_with(".tar.gz") || name.ends_with(".tgz") => Some(Self::TarGz),
            () => None,
        }
    }
}

/// Room for what is still to be unpacked, over all archives of one tree.
#[derive(Debug)]
pub struct Room {
    bytes: u64,
    files: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { bytes: TREE_BYTES_MAX, files: TREE_FILES_MAX }
    }
}

impl Room {
    /// A room of a given size, for what must be smaller than a whole tree.
    pub fn of(bytes: u64, files: usize) -> Self {
        Self { bytes, files }
    }
}

/// Unpacks a package's tarball below `into`, without the folder that everything in it lies in.
pub fn unpack_package(tarball: &[u8], into: &Path, room: &mut Room) -> Result<(), Problem> {
    let strip = |name: &str| name.split_once('/').map(|(_, rest)| rest.to_owned());
    tar(GzDecoder::new(tarball), tarball.len(), into, room, &strip)
}

/// Unpacks an archive of `node_modules` below `into`, whether or not the archive begins with that folder.
pub fn unpack_modules(packing: Packing, archive: &[u8], into: &Path, room: &mut Room) -> Result<(), Problem> {
    let strip = |name: &str| {
        let name = name.strip_prefix("./").unwrap_or(name);
        let name = name.strip_prefix("node_modules/").unwrap_or(name);
        // What macOS packs beside every file is no part of any package.
        let noise = name == "node_modules" || name.starts_with("__MACOSX/");
        (!noise).then(|| name.to_owned())
    };
    match packing {
        Packing::Zip => zip(archive, into, room, &strip),
        Packing::Tar => tar(archive, archive.len(), into, room, &strip),
        Packing::TarGz => tar(GzDecoder::new(archive), archive.len(), into, room, &strip),
    }
}

/// A name in the archive to a name below the directory; `None` leaves the entry out.
type Strip<'a> = dyn Fn(&str) -> Option<String> + 'a;

fn tar(reader: impl Read, packed_bytes: usize, into: &Path, room: &mut Room, strip: &Strip<'_>) -> Result<(), Problem> {
    let broken = |error: io::Error| Problem::new(format!("is not an archive that can be read: {error}"));
    let mut budget = Budget::new(packed_bytes, room);
    // Also what is skipped is decompressed: the reader counts it too.
    let counted = Counted { inner: reader, left: budget.ratio_left() };
    let mut archive = tar::Archive::new(counted);
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let kind = entry.header().entry_type();
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if kind.is_dir() || kind.is_pax_global_extensions() || kind.is_pax_local_extensions() {
            continue;
        }
        let is_file = kind.is_file() || kind.is_contiguous();
        let Some(stripped) = place(&name, is_file, strip)? else { continue };
        budget.file(&mut entry, into, &name, &stripped)?;
    }
    Ok(())
}

fn zip(archive: &[u8], into: &Path, room: &mut Room, strip: &Strip<'_>) -> Result<(), Problem> {
    let mut budget = Budget::new(archive.len(), room);
    let mut zip = zip::ZipArchive::new(Cursor::new(archive))
        .map_err(|error| Problem::new(format!("is not an archive that can be read: {error}")))?;
    if zip.len() > budget.room.files.saturating_mul(2) {
        return Err(too_many());
    }
    for index in 0..zip.len() {
        let mut entry = zip
            .by_index(index)
            .map_err(|error| Problem::new(format!("is not an archive that can be read: {error}")))?;
        let name = entry.name().map_err(|error| Problem::new(format!("a name in it: {error}")))?.into_owned();
        if entry.is_dir() {
            continue;
        }
        let Some(stripped) = place(&name, !entry.is_symlink(), strip)? else { continue };
        budget.file(&mut entry, into, &name, &stripped)?;
    }
    Ok(())
}

/// Where an entry goes, unless it is left out: `.bin` has links to programs, and nothing here runs them.
fn place(name: &str, is_file: bool, strip: &Strip<'_>) -> Result<Option<String>, Problem> {
    if is_file {
        return Ok(strip(name).filter(|stripped| !in_bin(stripped)));
    }
    match in_bin(name) {
        true => Ok(None),
        false => Err(Problem::new("is a link or a device, and an archive may hold files only").at(name)),
    }
}

fn in_bin(name: &str) -> bool {
    name.split('/').any(|part| part == ".bin")
}

fn too_many() -> Problem {
    Problem::new(format!("holds more than {TREE_FILES_MAX} files"))
}

/// What one archive may still write.
struct Budget<'a> {
    room: &'a mut Room,
    /// Bytes this archive may still come to, from its own size.
    of_ratio: u64,
}

impl<'a> Budget<'a> {
    fn new(packed_bytes: usize, room: &'a mut Room) -> Self {
        let of_ratio = (packed_bytes as u64).saturating_mul(RATIO_MAX).max(RATIO_FREE_BYTES);
        Self { room, of_ratio }
    }

    fn ratio_left(&self) -> u64 {
        // Headers of a tar are 512 bytes a file and padding as much again.
        self.of_ratio.min(self.room.bytes).saturating_add(self.room.files as u64 * 1_536)
    }

    fn file(&mut self, content: &mut impl Read, into: &Path, name: &str, stripped: &str) -> Result<(), Problem> {
        let path = inside(into, name, stripped)?;
        self.room.files = self.room.files.checked_sub(1).ok_or_else(too_many)?;
        let most = self.room.bytes.min(self.of_ratio);
        let cannot = |error: io::Error| match error.kind() {
            // What the counting reader says of an archive that never ends.
            io::ErrorKind::FileTooLarge => Problem::new(error.to_string()),
            _ => Problem::new(format!("cannot be unpacked: {error}")).at(name),
        };
        // What an archive says about sizes is a claim; what comes out is counted.
        let mut bytes = Vec::new();
        content.take(most + 1).read_to_end(&mut bytes).map_err(cannot)?;
        let length = bytes.len() as u64;
        if length > most {
            return Err(if self.of_ratio < self.room.bytes { too_dense() } else { too_large() });
        }
        self.room.bytes -= length;
        self.of_ratio -= length;
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, &bytes));
        written.map_err(|error| Problem::ours(format!("cannot be written: {error}")).at(name))
    }
}

fn too_large() -> Problem {
    Problem::new(format!("unpacks to more than {} MiB", TREE_BYTES_MAX / (1024 * 1024)))
}

fn too_dense() -> Problem {
    Problem::new(format!("unpacks to more than {RATIO_MAX} times its size, as no package does"))
}

/// Where a file goes. Nothing leads out of `into`: no absolute path, no `..`, and no link, since none is ever made.
fn inside(into: &Path, name: &str, stripped: &str) -> Result<PathBuf, Problem> {
    let refuse = |reason: &str| Err(Problem::new(reason).at(name.chars().take(200).collect::<String>()));
    if name.len() > PATH_BYTES_MAX {
        return refuse(&format!("its path is longer than {PATH_BYTES_MAX} bytes"));
    }
    let mut path = into.to_owned();
    for part in stripped.split('/') {
        match part {
            "" => return refuse("its path is absolute, or has an empty part"),
            ".." => return refuse("its path leads out of the archive"),
            "." => {}
            part if part.contains(['\\', '\0']) => return refuse("its path has a character that no package's has"),
            part => path.push(part),
        }
    }
    if path == into { refuse("has no name") } else { Ok(path) }
}

/// A reader that ends with an error after so many bytes.
struct Counted<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(length as u64)
            .ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, too_dense().reason))?;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use zip::write::SimpleFileOptions;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// A tar entry whose name is written as it is, since the library refuses to write the hostile ones.
    fn entry(name: &str, kind: tar::EntryType, content: &[u8]) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        if !kind.is_file() {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().div_ceil(512) * 512, 0);
        bytes
    }

    fn tar_of(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
        let mut bytes: Vec<u8> = entries.iter().flat_map(|(name, kind, content)| entry(name, *kind, content)).collect();
        bytes.extend_from_slice(&[0; 1024]);
        bytes
    }

    fn unpack(packing: Packing, archive: &[u8], room: &mut Room) -> Result<Vec<String>, String> {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("in");
        unpack_modules(packing, archive, &inner, room).map_err(|problem| problem.to_string())?;
        let mut files = Vec::new();
        let mut below = vec![dir.path().to_owned()];
        while let Some(at) = below.pop() {
            for found in fs::read_dir(at).unwrap() {
                let found = found.unwrap().path();
                if found.is_dir() {
                    below.push(found);
                } else {
                    files.push(found.strip_prefix(&inner).unwrap().display().to_string());
                }
            }
        }
        files.sort();
        Ok(files)
    }

    #[test]
    fn every_packing_gives_the_same_files_with_or_without_the_leading_folder() {
        let file = tar::EntryType::Regular;
        for prefix in ["", "node_modules/", "./node_modules/"] {
            let names = [format!("{prefix}a/index.js"), format!("{prefix}@b/c/package.json")];
            let plain = tar_of(&[(&names[0], file, b"1"), (&names[1], file, b"{}")]);
            let mut zipped = zip::ZipWriter::new(Cursor::new(Vec::new()));
            for name in &names {
                zipped.start_file(name.as_str(), SimpleFileOptions::default()).unwrap();
                zipped.write_all(b"{}").unwrap();
            }
            let zipped = zipped.finish().unwrap().into_inner();
            for (packing, archive) in
                [(Packing::Tar, plain.clone()), (Packing::TarGz, gzip(&plain)), (Packing::Zip, zipped)]
            {
                let files = unpack(packing, &archive, &mut Room::default()).unwrap();
                assert_eq!(files, ["@b/c/package.json", "a/index.js"], "{packing:?} {prefix}");
            }
        }
    }

    #[test]
    fn what_leads_out_is_refused_and_named() {
        let file = tar::EntryType::Regular;
        for (name, kind, reason) in [
            ("../x.js", file, "leads out"),
            ("node_modules/a/../../../x.js", file, "leads out"),
            ("/etc/x.js", file, "absolute"),
            ("node_modules//x.js", file, "empty part"),
            ("a\\..\\x.js", file, "character"),
            ("a/link.js", tar::EntryType::Symlink, "link"),
            ("a/hard.js", tar::EntryType::Link, "link"),
            ("a/pipe", tar::EntryType::Fifo, "device"),
        ] {
            let refused = unpack(Packing::Tar, &tar_of(&[(name, kind, b"")]), &mut Room::default()).unwrap_err();
            assert!(refused.contains(reason) && refused.contains(name), "{name}: {refused}");
        }
    }

    #[test]
    fn commands_in_bin_folders_are_left_out() {
        let archive = tar_of(&[
            (".bin/uuid", tar::EntryType::Symlink, b""),
            ("a/index.js", tar::EntryType::Regular, b"1"),
            ("__MACOSX/a/._index.js", tar::EntryType::Regular, b"1"),
        ]);
        assert_eq!(unpack(Packing::Tar, &archive, &mut Room::default()).unwrap(), ["a/index.js"]);
    }

    #[test]
    fn a_bomb_and_a_flood_of_files_are_refused_before_they_fill_the_disk() {
        let file = tar::EntryType::Regular;
        let zeros = vec![0; 48 * 1024 * 1024];
        let bomb = gzip(&tar_of(&[("a/zeros", file, &zeros)]));
        assert!(bomb.len() < 100_000);
        let refused = unpack(Packing::TarGz, &bomb, &mut Room::default()).unwrap_err();
        assert!(refused.contains("200 times"), "{refused}");
        // Also one that lies outside of what is kept.
        let hidden = gzip(&tar_of(&[("__MACOSX/zeros", file, &zeros), ("__MACOSX/more", file, &zeros)]));
        let mut small = Room::of(1_000_000, 10);
        assert!(unpack(Packing::TarGz, &hidden, &mut small).unwrap_err().contains("200 times"));
        let many: Vec<(String, tar::EntryType, &[u8])> =
            (0..5).map(|number| (format!("a/{number}.js"), file, &b"1"[..])).collect();
        let many: Vec<_> = many.iter().map(|(name, kind, content)| (name.as_str(), *kind, *content)).collect();
        assert!(unpack(Packing::Tar, &tar_of(&many), &mut Room::of(100, 4)).unwrap_err().contains("files"));
        assert!(unpack(Packing::Tar, &tar_of(&many), &mut Room::of(4, 10)).unwrap_err().contains("unpacks to more"));
    }

    #[test]
    fn what_is_no_archive_says_so() {
        for packing in [Packing::Zip, Packing::TarGz] {
            assert!(unpack(packing, b"hello, I am text", &mut Room::default()).unwrap_err().contains("not an archive"));
        }
    }
}
