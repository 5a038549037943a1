//! An open file: decompressed if its first bytes say so, with its beginning kept for guessing the format.

use super::Head;
use crate::columns::parquet::{Input, ReadAt};
use crate::{Error, Result};
use ::parquet::file::reader::Length;
use memchr::memchr2;
use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A file that is read once from front to back as text, or in any order through [`OpenFile::input`].
pub(crate) struct OpenFile {
    path: PathBuf,
    input: Input,
    head: Vec<u8>,
    whole: bool,
    packed: Option<&'static str>,
    rest: Box<dyn Read>,
    /// Size of the buffer between the text and its reader.
    buffer: usize,
    done: Rc<Cell<u64>>,
    comments: Vec<String>,
    /// Lines before the head.
    skipped: u64,
}

/// The beginnings of files that are refused by name.
const FOREIGN: [(&[u8], &str); 6] = [
    (b"PK\x03\x04", "ZIP"),
    (b"\xfd7zXZ\0", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"\x04\x22\x4d\x18", "LZ4"),
    (b"Rar!", "RAR"),
    (b"\xff\x06\0\0sNaPpY", "Snappy"),
];

/// Enough for the first line of any usual table and for distinguishing the line formats.
const HEAD: usize = 1 << 16;
const BUFFER: usize = 1 << 17;
/// A longer line is an error: the file is probably binary or lacks a closing quote.
const MAX_LINE: usize = 64 << 20;

impl OpenFile {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::new(path.to_path_buf(), Input::open(path)?)
    }

    pub(crate) fn new(path: PathBuf, input: Input) -> Result<Self> {
        let done = Rc::new(Cell::new(0));
        let raw = CountingReader { from: ReadAt::start(&input), done: Rc::clone(&done) };
        // Small files, of which a folder may hold many, need no large buffers.
        let buffer = (Length::len(&input) as usize).clamp(1 << 10, BUFFER);
        let mut raw = BufReader::with_capacity(buffer, raw);
        let magic = raw.fill_buf().map_err(Error::io(&path))?;
        let (packed, mut rest): (_, Box<dyn Read>) = if magic.starts_with(&[0x1f, 0x8b]) {
            (Some("gzip"), Box::new(flate2::bufread::MultiGzDecoder::new(raw)))
        } else if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            let decoder = zstd::stream::read::Decoder::with_buffer(raw);
            (Some("zstd"), Box::new(decoder.map_err(Error::io(&path))?))
        } else if magic.starts_with(b"BZh") {
            (Some("bzip2"), Box::new(bzip2::bufread::MultiBzDecoder::new(raw)))
        } else if let Some((_, name)) = FOREIGN.iter().find(|(head, _)| magic.starts_with(head)) {
            let problem = format!(
                "a file packed with {name}: unpack it first (gzip, zstd and bzip2 are read as they are)"
            );
            return Err(Error::file(path, problem));
        } else {
            (None, Box::new(raw))
        };
        let mut head = Vec::new();
        let read = rest.by_ref().take(HEAD as u64).read_to_end(&mut head);
        read.map_err(|error| unreadable(&path, packed, error))?;
        let whole = head.len() < HEAD;
        if head.starts_with(b"\xef\xbb\xbf") {
            head.drain(..3);
        }
        if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
            return Err(Error::file(path, "the text is UTF-16, expected UTF-8"));
        }
        let buffer = if packed.is_some() { BUFFER } else { buffer };
        let (comments, skipped) = (Vec::new(), 0);
        Ok(Self { path, input, head, whole, packed, rest, buffer, done, comments, skipped })
    }

    /// Passes over the lines at the beginning that start with `#` or `%`, and blank lines between them.
    pub(crate) fn skip_comments(&mut self) -> Result<()> {
        loop {
            let is_comment =
                |line: &[u8]| matches!(line.trim_ascii_start().first(), Some(b'#' | b'%'));
            let mut rest = &self.head[..];
            let mut taken = 0;
            while let Some(end) = memchr2(b'\n', b'\r', rest)
                .or((self.whole && !rest.is_empty()).then_some(rest.len()))
            {
                let (line, tail) = rest.split_at(end);
                let comment = is_comment(line);
                if !comment && !line.iter().all(u8::is_ascii_whitespace) {
                    break;
                }
                let tail = match tail {
                    // A CR at the very end may be half of a line end.
                    [b'\r'] if !self.whole => break,
                    [b'\r', b'\n', tail @ ..] | [b'\r' | b'\n', tail @ ..] => tail,
                    tail => tail,
                };
                if comment {
                    let text = String::from_utf8_lossy(line.trim_ascii());
                    self.comments.push(text.chars().take(60).collect());
                }
                taken += rest.len() - tail.len();
                self.skipped += 1;
                rest = tail;
            }
            if self.comments.is_empty() {
                self.skipped = 0;
                return Ok(());
            }
            self.head.drain(..taken);
            if taken == 0 || self.whole {
                return Ok(());
            }
            // The head is filled up again, for comments longer than it.
            let missing = (HEAD - self.head.len().min(HEAD)) as u64;
            let before = self.head.len();
            let read = self.rest.by_ref().take(missing).read_to_end(&mut self.head);
            read.map_err(|error| unreadable(&self.path, self.packed, error))?;
            self.whole = ((self.head.len() - before) as u64) < missing;
        }
    }

    /// The comments that were passed over, each cut to 60 characters.
    pub(crate) fn comments(&self) -> &[String] {
        &self.comments
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file as it is on disk.
    pub(crate) fn input(&self) -> &Input {
        &self.input
    }

    pub(crate) fn head(&self) -> Head<'_> {
        Head { bytes: &self.head, whole: self.whole }
    }

    /// Bytes read from disk so far; keeps counting while the file is read.
    pub(crate) fn done(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.done)
    }
}

impl OpenFile {
    pub(crate) fn into_text(self) -> TextReader {
        let Self { path, head, packed, rest, buffer, skipped, .. } = self;
        TextReader {
            path,
            packed,
            skipped,
            reader: BufReader::with_capacity(buffer, Cursor::new(head).chain(rest)),
        }
    }

    pub(crate) fn into_lines(self) -> LineReader {
        self.into_text().into_lines()
    }
}

/// The head, followed by the remainder.
type Joined = io::Chain<Cursor<Vec<u8>>, Box<dyn Read>>;

/// Decompressed text.
pub(crate) struct TextReader {
    path: PathBuf,
    packed: Option<&'static str>,
    /// Lines of the file before this text.
    skipped: u64,
    reader: BufReader<Joined>,
}

impl Read for TextReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl TextReader {
    pub(crate) fn into_lines(self) -> LineReader {
        let number = self.skipped;
        LineReader { text: self, line: Vec::new(), number, after_cr: false }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The buffered bytes; empty at the end of the file.
    pub(crate) fn fill(&mut self) -> Result<&[u8]> {
        match self.reader.fill_buf() {
            // `buffer()` again, because the borrow checker does not see that the error case ends here.
            Ok(_) => Ok(self.reader.buffer()),
            Err(error) => Err(unreadable(&self.path, self.packed, error)),
        }
    }

    pub(crate) fn consume(&mut self, n: usize) {
        self.reader.consume(n);
    }

    pub(crate) fn check_length(&self, line: u64, length: usize) -> Result<()> {
        if length > MAX_LINE {
            let problem = format!("the line is longer than {} MiB", MAX_LINE >> 20);
            return Err(Error::Line { path: self.path.clone(), line, problem });
        }
        Ok(())
    }
}

/// Reads lines without their line ends, which may be LF, CRLF or CR.
pub(crate) struct LineReader {
    text: TextReader,
    line: Vec<u8>,
    number: u64,
    after_cr: bool,
}

impl LineReader {
    /// The next line that is not blank, with its number.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, &[u8])>> {
        while self.advance()? {
            if !self.line.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some((self.number, &self.line)));
            }
        }
        Ok(None)
    }

    /// The number of the line before the next one.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The next line, blank or not, with its number.
    pub(crate) fn next_or_blank(&mut self) -> Result<Option<(u64, &[u8])>> {
        Ok(if self.advance()? { Some((self.number, &self.line)) } else { None })
    }

    fn advance(&mut self) -> Result<bool> {
        self.line.clear();
        let mut any = false;
        loop {
            let buffer = self.text.fill()?;
            if buffer.is_empty() {
                self.number += u64::from(any);
                return Ok(any);
            }
            if self.after_cr {
                self.after_cr = false;
                if buffer[0] == b'\n' {
                    self.text.consume(1);
                    continue;
                }
            }
            any = true;
            let end = memchr2(b'\n', b'\r', buffer);
            let taken = end.unwrap_or(buffer.len());
            self.line.extend_from_slice(&buffer[..taken]);
            self.after_cr = end.is_some_and(|end| buffer[end] == b'\r');
            self.text.consume(taken + usize::from(end.is_some()));
            self.text.check_length(self.number + 1, self.line.len())?;
            if end.is_some() {
                self.number += 1;
                return Ok(true);
            }
        }
    }
}

fn unreadable(path: &Path, packed: Option<&str>, error: io::Error) -> Error {
    match packed {
        Some(packed) => {
            let problem = format!("the {packed} stream is damaged or incomplete: {error}");
            Error::file(path, problem)
        }
        None => Error::io(path)(error),
    }
}

struct CountingReader {
    from: ReadAt,
    done: Rc<Cell<u64>>,
}

impl Read for CountingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.done.set(self.done.get() + read as u64);
        Ok(read)
    }
}
