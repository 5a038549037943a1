//! Memory-mapped files of numbers: pages are loaded when they are read, and the system can evict them.
//!
//! **Requirement**: a file must not be changed in place while it is mapped. Replacing it by renaming another file over it, as this
//! project does, leaves the mapped content unchanged. A change in place is undefined behaviour, and truncation kills the process.
//! Files that other programs may write are therefore mapped only on request; a run's own files are never changed in place.

use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::sync::Arc;

use memmap2::{Mmap, MmapAsRawDesc};

/// A whole file, mapped for reading.
#[derive(Clone, Debug)]
pub struct MappedFile(Arc<Mmap>);

impl MappedFile {
    /// # Errors
    /// When the system refuses.
    pub fn open(file: impl MmapAsRawDesc) -> io::Result<Self> {
        // SAFETY: the file is only read through this map; callers guarantee that it is not changed in place,
        // see above.
        let map = unsafe { Mmap::map(file)? };
        Ok(Self(Arc::new(map)))
    }

    /// The file's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Some of the bytes as little-endian numbers. `None` if the range is beyond the end of the file, not a
    /// multiple of the number's size, or not aligned, or if the machine is big-endian.
    #[must_use]
    pub fn numbers<T: Number>(&self, bytes: Range<usize>) -> Option<Mapped<T>> {
        let found = self.0.get(bytes.clone())?;
        let (aligned, rest) =
            (found.as_ptr().addr().is_multiple_of(align_of::<T>()), found.len() % size_of::<T>());
        if !aligned || rest != 0 || cfg!(target_endian = "big") {
            return None;
        }
        let len = found.len() / size_of::<T>();
        Some(Mapped { file: self.clone(), start: bytes.start, len, of: PhantomData })
    }
}

/// Types without padding for which every bit pattern is valid: `f32` and `u32`.
pub trait Number: sealed::Number {}
impl<T: sealed::Number> Number for T {}

mod sealed {
    pub trait Number: Copy {}
    impl Number for f32 {}
    impl Number for u32 {}
}

/// Numbers of a [`MappedFile`].
#[derive(Clone, Debug)]
pub struct Mapped<T> {
    file: MappedFile,
    /// The byte offset of the first number.
    start: usize,
    len: usize,
    of: PhantomData<T>,
}

impl<T: Number> Deref for Mapped<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: `numbers` checked that as many aligned bytes lie within the file; every bit pattern is a `T`.
        unsafe { std::slice::from_raw_parts(self.file.0.as_ptr().add(self.start).cast(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write as _;

    #[test]
    fn numbers_are_read_where_they_lie_and_nowhere_else() {
        let mut file = tempfile::tempfile().unwrap();
        let numbers = [1.5f32, -0.0, f32::MAX, 7.0];
        file.write_all(b"head").unwrap();
        numbers.iter().for_each(|x| file.write_all(&x.to_le_bytes()).unwrap());
        let mapped = MappedFile::open(&file).unwrap();
        assert_eq!(mapped.bytes().len(), 20);
        let floats = |bytes| mapped.numbers::<f32>(bytes);
        let bits = |floats: &[f32]| floats.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&floats(4..20).unwrap()), bits(&numbers));
        assert_eq!(bits(&floats(8..16).unwrap()), bits(&numbers[1..3]));
        assert!(floats(20..20).unwrap().is_empty());
        for wrong in [5..9, 4..19, 4..24, 24..28] {
            assert!(floats(wrong.clone()).is_none(), "{wrong:?}");
        }
        // The map outlives the file's name and handle.
        let kept = floats(4..8).unwrap();
        let patterns = mapped.numbers::<u32>(8..16).unwrap();
        drop((file, mapped));
        assert_eq!(kept[0], 1.5);
        assert_eq!(patterns[..], [(-0.0f32).to_bits(), f32::MAX.to_bits()]);
    }
}
