//! The C library's functions that change files, as the linker finds them before its own.
//!
//! Each asks the current node's disk first; without one it passes on. The calls below are made with `rustix`,
//! which on Linux talks to the kernel itself, so that none comes back here.

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libc::{iovec, mode_t, off_t, size_t, ssize_t};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{Disk, State, read_back};

/// Standard input, output and error are the harness's.
const FIRST_FD_OF_NODES: c_int = 3;

/// Gives a result back as the C library does: -1, and why in `errno`.
fn answer<T: From<i8>>(result: Result<T, Errno>) -> T {
    result.unwrap_or_else(|error| {
        // SAFETY: the location of this thread's `errno` is always valid.
        unsafe { *libc::__errno_location() = error.raw_os_error() };
        T::from(-1)
    })
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// The descriptor, for the length of a call.
///
/// # Safety
/// `fd` must be open.
unsafe fn borrow<'a>(fd: c_int) -> Result<BorrowedFd<'a>, Errno> {
    if fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: not -1, and the caller vouches that it is open.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// The file's state, if it is one of a node's.
fn regular(fd: c_int, file: BorrowedFd<'_>) -> Option<Stat> {
    if fd < FIRST_FD_OF_NODES {
        return None;
    }
    let stat = rustix::fs::fstat(file).ok()?;
    (FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then_some(stat)
}

/// A write at an offset, or where the file stands.
fn write_slices(fd: c_int, slices: &[IoSlice<'_>], offset: Option<u64>) -> Result<ssize_t, Errno> {
    // SAFETY: whoever calls the C library vouches for the descriptor.
    let file = unsafe { borrow(fd)? };
    let pass_on = |slices: &[IoSlice<'_>]| match offset {
        Some(offset) => rustix::io::pwritev(file, slices, offset),
        None => rustix::io::writev(file, slices),
    };
    let logged = regular(fd, file).and_then(|stat| {
        Disk::with(|disk| {
            let flags = rustix::fs::fcntl_getfl(file)?;
            let at = match offset {
                Some(offset) => offset,
                None if flags.contains(OFlags::APPEND) => stat.st_size as u64,
                None => rustix::fs::tell(file)?,
            };
            let mut new = slices.iter().flat_map(|slice| slice.iter().copied()).collect::<Vec<u8>>();
            new.truncate(disk.admit_write(&stat, at, new.len())?);
            let old = read_back(file, at, new.len() as u64).map_err(|error| errno_of(&error))?;
            let written = pass_on(&[IoSlice::new(&new)])?;
            let durable = flags.intersects(OFlags::DSYNC);
            disk.wrote(&stat, at, old, &new[..written], durable);
            Ok(written)
        })
    });
    logged.unwrap_or_else(|| pass_on(slices)).map(|written| written as ssize_t)
}

/// # Safety
/// `buffer` must be readable for `count` bytes.
unsafe fn write_buffer(fd: c_int, buffer: *const c_void, count: size_t, offset: Option<u64>) -> ssize_t {
    if count == 0 {
        return 0;
    }
    // SAFETY: the caller vouches for buffer and count.
    let bytes = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), count) };
    answer(write_slices(fd, &[IoSlice::new(bytes)], offset))
}

/// # Safety
/// `vectors` must point at `count` vectors, each readable.
unsafe fn write_vectors(fd: c_int, vectors: *const iovec, count: c_int, offset: Option<u64>) -> ssize_t {
    let Ok(count) = usize::try_from(count) else { return answer(Err(Errno::INVAL)) };
    if count == 0 {
        return 0;
    }
    // SAFETY: `IoSlice` has the layout of `iovec` on Unix, and the caller vouches for vectors and count.
    let slices = unsafe { std::slice::from_raw_parts(vectors.cast::<IoSlice<'_>>(), count) };
    answer(write_slices(fd, slices, offset))
}

/// `write(2)`.
///
/// # Safety
/// `buffer` must be readable for `count` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, buffer: *const c_void, count: size_t) -> ssize_t {
    // SAFETY: the caller's promise is passed on.
    unsafe { write_buffer(fd, buffer, count, None) }
}

/// `pwrite(2)`.
///
/// # Safety
/// `buffer` must be readable for `count` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(fd: c_int, buffer: *const c_void, count: size_t, offset: off_t) -> ssize_t {
    // SAFETY: the caller's promise is passed on.
    unsafe { write_buffer(fd, buffer, count, Some(offset as u64)) }
}

/// `pwrite64(2)`: another name for `pwrite` where offsets have 64 bits anyway.
///
/// # Safety
/// `buffer` must be readable for `count` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(fd: c_int, buffer: *const c_void, count: size_t, offset: off_t) -> ssize_t {
    // SAFETY: the caller's promise is passed on.
    unsafe { write_buffer(fd, buffer, count, Some(offset as u64)) }
}

/// `writev(2)`.
///
/// # Safety
/// `vectors` must point at `count` vectors, each readable.
#[unsafe(no_mangle)]
unsafe extern "C" fn writev(fd: c_int, vectors: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: the caller's promise is passed on.
    unsafe { write_vectors(fd, vectors, count, None) }
}

/// `pwritev(2)`.
///
/// # Safety
/// `vectors` must point at `count` vectors, each readable.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwritev(fd: c_int, vectors: *const iovec, count: c_int, offset: off_t) -> ssize_t {
    // SAFETY: the caller's promise is passed on.
    unsafe { write_vectors(fd, vectors, count, Some(offset as u64)) }
}

/// `pwritev64(2)`.
///
/// # Safety
/// `vectors` must point at `count` vectors, each readable.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwritev64(fd: c_int, vectors: *const iovec, count: c_int, offset: off_t) -> ssize_t {
    // SAFETY: the caller's promise is passed on.
    unsafe { write_vectors(fd, vectors, count, Some(offset as u64)) }
}

fn resize(fd: c_int, length: off_t) -> Result<c_int, Errno> {
    // SAFETY: whoever calls the C library vouches for the descriptor.
    let file = unsafe { borrow(fd)? };
    let length = u64::try_from(length).map_err(|_| Errno::INVAL)?;
    let pass_on = || rustix::fs::ftruncate(file, length);
    let logged = regular(fd, file).and_then(|stat| {
        Disk::with(|disk| {
            disk.admit("resize")?;
            let beyond = (stat.st_size as u64).saturating_sub(length);
            let cut = read_back(file, length, beyond).map_err(|error| errno_of(&error))?;
            pass_on()?;
            disk.resized(&stat, length, cut);
            Ok(())
        })
    });
    logged.unwrap_or_else(pass_on).map(|()| 0)
}

/// `ftruncate(2)`.
#[unsafe(no_mangle)]
extern "C" fn ftruncate(fd: c_int, length: off_t) -> c_int {
    answer(resize(fd, length))
}

/// `ftruncate64(2)`.
#[unsafe(no_mangle)]
extern "C" fn ftruncate64(fd: c_int, length: off_t) -> c_int {
    answer(resize(fd, length))
}

fn sync(fd: c_int, pass_on: fn(BorrowedFd<'_>) -> Result<(), Errno>) -> Result<c_int, Errno> {
    // SAFETY: whoever calls the C library vouches for the descriptor.
    let file = unsafe { borrow(fd)? };
    let logged = rustix::fs::fstat(file).ok().and_then(|stat| Disk::with(|disk| disk.sync(&stat)));
    // The bookkeeping is the sync: what lies in memory needs no other, and a real one would only cost time.
    logged.unwrap_or_else(|| pass_on(file)).map(|()| 0)
}

/// `fsync(2)`.
#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    answer(sync(fd, |file| rustix::fs::fsync(file)))
}

/// `fdatasync(2)`.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    answer(sync(fd, |file| rustix::fs::fdatasync(file)))
}

/// # Safety
/// `path` must be a C string.
unsafe fn path_of<'a>(path: *const c_char) -> &'a Path {
    // SAFETY: the caller vouches for the string.
    Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()))
}

fn open_path(path: &Path, flags: c_int, mode: mode_t) -> Result<c_int, Errno> {
    let flags = OFlags::from_bits_retain(flags as u32);
    let pass_on = || rustix::fs::open(path, flags, Mode::from_raw_mode(mode));
    let opened = if flags.intersects(OFlags::CREATE | OFlags::TRUNC) {
        Disk::with(|disk| open_changing(disk, path, flags, pass_on)).unwrap_or_else(pass_on)
    } else {
        pass_on()
    };
    opened.map(IntoRawFd::into_raw_fd)
}

/// An open that may create or empty a file.
fn open_changing<F>(
    disk: &mut State,
    path: &Path,
    flags: OFlags,
    pass_on: F,
) -> Result<std::os::fd::OwnedFd, Errno>
where
    F: Fn() -> Result<std::os::fd::OwnedFd, Errno>,
{
    use std::os::fd::AsFd;
    let Ok(before) = rustix::fs::stat(path) else {
        if !flags.contains(OFlags::CREATE) {
            return pass_on();
        }
        disk.admit("create")?;
        if disk.faults.room == Some(0) {
            return Err(Errno::NOSPC);
        }
        let file = pass_on()?;
        disk.names.created(path).map_err(|error| errno_of(&error))?;
        return Ok(file);
    };
    if !flags.contains(OFlags::TRUNC) || before.st_size == 0 {
        return pass_on();
    }
    disk.admit("empty")?;
    let old = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let cut = read_back(old.as_fd(), 0, before.st_size as u64).map_err(|error| errno_of(&error))?;
    let file = pass_on()?;
    disk.resized(&before, 0, cut);
    Ok(file)
}

/// `open(2)`. Variadic in C: both ABIs supported pass the mode just as a third argument.
///
/// # Safety
/// `path` must be a C string.
#[unsafe(no_mangle)]
unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the caller's promise is passed on.
    answer(open_path(unsafe { path_of(path) }, flags, mode))
}

/// `open64(2)`.
///
/// # Safety
/// `path` must be a C string.
#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the caller's promise is passed on.
    answer(open_path(unsafe { path_of(path) }, flags, mode))
}

/// Announces a change of names, makes it, and takes the announcement back if it failed.
fn change_names(
    kind: &str,
    announce: impl FnOnce(&mut State) -> io::Result<()>,
    pass_on: impl Fn() -> Result<(), Errno>,
) -> Result<c_int, Errno> {
    let logged = Disk::with(|disk| {
        disk.admit(kind)?;
        announce(disk).map_err(|error| errno_of(&error))?;
        let done = pass_on();
        if done.is_err() {
            disk.names.take_back().map_err(|error| errno_of(&error))?;
        }
        done
    });
    logged.unwrap_or_else(pass_on).map(|()| 0)
}

/// `rename(2)`.
///
/// # Safety
/// Both must be C strings.
#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: the caller's promise is passed on.
    let (from, to) = unsafe { (path_of(from), path_of(to)) };
    answer(change_names("rename", |disk| disk.names.will_rename(from, to), || rustix::fs::rename(from, to)))
}

/// `unlink(2)`.
///
/// # Safety
/// `path` must be a C string.
#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: the caller's promise is passed on.
    let path = unsafe { path_of(path) };
    let announce = |disk: &mut State| {
        disk.names.will_remove(path)?;
        let freed = rustix::fs::stat(path).map_or(0, |stat| stat.st_size as u64);
        disk.faults.room = disk.faults.room.map(|room| room + freed);
        Ok(())
    };
    answer(change_names("unlink", announce, || rustix::fs::unlink(path)))
}

/// `mkdir(2)`.
///
/// # Safety
/// `path` must be a C string.
#[unsafe(no_mangle)]
unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: the caller's promise is passed on.
    let path = unsafe { path_of(path) };
    let make = || rustix::fs::mkdir(path, Mode::from_raw_mode(mode));
    answer(change_names("mkdir", |disk| disk.names.created(path), make))
}

/// `linkat(2)`, which the standard library uses for hard links.
///
/// # Safety
/// Both must be C strings.
#[unsafe(no_mangle)]
unsafe extern "C" fn linkat(
    from_dir: c_int,
    from: *const c_char,
    to_dir: c_int,
    to: *const c_char,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller vouches for paths and folders; `AT_FDCWD` is no -1.
    let (from, to, folders) =
        unsafe { (path_of(from), path_of(to), [from_dir, to_dir].map(|dir| BorrowedFd::borrow_raw(dir))) };
    let link =
        || rustix::fs::linkat(folders[0], from, folders[1], to, AtFlags::from_bits_retain(flags as u32));
    if (from_dir, to_dir) != (libc::AT_FDCWD, libc::AT_FDCWD) {
        return answer(link().map(|()| 0));
    }
    answer(change_names("link", |disk| disk.names.created(to), link))
}
