//! Teachers' lists on disk: recorded once, written as they are computed, resumed after an interruption, and shared by all students
//! that request the same.
//!
//! A file has the format of [`rankstill::core::answers`]. It is written as `.part` and renamed when it is complete. Each block is
//! on the disk before the next one is requested, and a partial file is continued after the rows whose checksums are right. Complete files
//! are mapped.

use super::trajectory;
use anyhow::{Context as _, Result, anyhow};
use rankstill::core::answers::{AnswersFile, AnswersHeader, HEADER_LEN};
use rankstill::core::atomic_write::{DiskFile, create_folders, rename};
use rankstill::core::{
    Answers, Candidates, Cases, Error, ListRequest, Model, Ranker, Rankings, Requirements,
    TeacherRecipe, Trace,
};
use rankstill::distill::{Fused, Recorded, Teacher, trace};
use std::io::{BufWriter, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A model of the experiment that can rank.
pub enum Ready {
    /// Fitted here and kept in this folder.
    Fitted(Arc<dyn Model>, PathBuf),
    /// Another system's rankings, one for each state of its training, the last as it is now.
    Recorded(Vec<Arc<Recorded>>),
    /// Several of these as one, with the folder of the ensemble.
    Fused(Arc<Fused<Arc<dyn Ranker>>>, PathBuf),
}

impl Ready {
    /// The ranker.
    pub fn ranker(&self) -> Arc<dyn Ranker> {
        match self {
            Self::Fitted(model, _) => model.clone(),
            Self::Recorded(states) => states[states.len() - 1].clone(),
            Self::Fused(members, _) => members.clone(),
        }
    }

    /// The same as the teacher `name`.
    ///
    /// # Errors
    /// When there are no rankings.
    pub fn teacher(&self, name: &str) -> Result<KeptTeacher> {
        let (teacher, folder) = match self {
            Self::Fitted(model, folder) => {
                (Teacher::of_model(name, model.clone()), Some(folder.clone()))
            }
            Self::Recorded(states) => (Teacher::of_rankings(name, states.clone())?, None),
            Self::Fused(members, folder) => {
                (Teacher::of_ranker(name, members.clone()), Some(folder.clone()))
            }
        };
        Ok(KeptTeacher { teacher, folder })
    }
}

/// A teacher of the experiment.
pub struct KeptTeacher {
    /// The teacher.
    pub teacher: Teacher,
    /// Where its lists are kept, in `said` and `trajectory`; without a folder they are computed every time.
    pub folder: Option<PathBuf>,
}

impl KeptTeacher {
    /// With the recipe it is fitted by, where it is fitted here.
    #[must_use]
    pub fn with_recipe(self, recipe: Option<TeacherRecipe>) -> Self {
        match recipe {
            Some(recipe) => Self { teacher: self.teacher.with_recipe(recipe), ..self },
            None => self,
        }
    }

    /// All that a distiller requires of the teacher about the distinct queries of `cases`, its lists from the folder as far as
    /// they are there.
    ///
    /// # Errors
    /// When the teacher cannot answer, the user interrupts, or the disk is full.
    pub fn trace(
        &self,
        cases: &Cases,
        requires: Requirements,
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Trace> {
        let Some(folder) = &self.folder else {
            return Ok(self.teacher.trace(cases, requires, progress)?);
        };
        let states = match requires.trajectory {
            true => trajectory::read(self.teacher.name(), folder, cases)?,
            false => None,
        };
        let lists = match states {
            Some(trace) => trace,
            None if requires.lists.k == 0 => self.teacher.without_lists(cases)?,
            None => kept_lists(&self.teacher, folder, cases, requires.lists, progress)?,
        };
        Ok(self.teacher.complete(lists, cases, requires)?)
    }
}

/// The teacher's lists for the distinct queries of `cases`: those that are in `folder`, the others computed and kept there.
///
/// # Errors
/// When the teacher cannot answer, the user interrupts, or the disk is full.
fn kept_lists(
    teacher: &Teacher,
    folder: &Path,
    cases: &Cases,
    request: ListRequest,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Trace> {
    let folder = folder.join("said");
    let header = header(cases, request);
    let path = folder.join(format!("{:016x}.lists", header.questions));
    if header.rows_in(&path) < header.queries {
        let part = path.with_extension("part");
        create_folders(&folder).with_context(|| folder.display().to_string())?;
        record(teacher, cases, request, &header, &part, progress)
            .with_context(|| part.display().to_string())?;
        rename(&part, &path).with_context(|| path.display().to_string())?;
    }
    let file = AnswersFile::open(&path, cases.n_items());
    let file =
        file.map_err(|error| anyhow!("{error}; remove this file to record the lists again"))?;
    let lists = Answers::of_file(file);
    Ok(Trace::new(teacher.name(), vec![(0, lists)])?)
}

/// Number of bytes that the requested lists take on disk.
#[must_use]
pub fn disk(cases: &Cases, request: ListRequest) -> u64 {
    header(cases, request).file()
}

/// Identifies the queries and the request: other cases or another request have another file.
fn header(cases: &Cases, request: ListRequest) -> AnswersHeader {
    let among = u64::from(request.candidates == Candidates::Everything);
    let asked = (2 * request.k as u64 + among).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    AnswersHeader {
        length: trace::length(cases, request) as u32,
        queries: cases.n_queries() as u64,
        questions: cases.fingerprint() ^ asked,
        deviations: false,
    }
}

fn record(
    teacher: &Teacher,
    cases: &Cases,
    request: ListRequest,
    header: &AnswersHeader,
    path: &Path,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<()> {
    // What was written last before the power went may be there in length only, and a disk may lose a bit.
    let done = header.sound_rows_in(path);
    let mut file = match done {
        0 => DiskFile::resume(path, 0)?,
        _ => DiskFile::resume(path, HEADER_LEN as u64 + done * header.row())?,
    };
    if done == 0 {
        file.write_all(&header.bytes())?;
    }
    let mut file = BufWriter::new(file);
    let mut row = done;
    let mut keep = |answers: Rankings| {
        let answers = answers.into();
        let mut write = || -> std::io::Result<()> {
            header.write_rows(&mut file, row, &answers)?;
            row += answers.len() as u64;
            file.flush()?;
            file.get_ref().sync()
        };
        write().map_err(Error::io(path))
    };
    let (name, ranker) = (teacher.name(), &**teacher.ranker());
    Ok(trace::record_from(done as usize, name, ranker, cases, request, &mut keep, progress)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rankstill::core::{Interactions, Lists, Query, TopK};
    use std::fs::{self, File};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Ranks items in an order that depends on the user, a single one for user 3, and counts its queries.
    struct Counting(AtomicUsize);
    impl Ranker for Counting {
        fn rank(&self, queries: &[Query<'_>], top: &TopK<'_>) -> rankstill::core::Result<Rankings> {
            self.0.fetch_add(queries.len(), Ordering::Relaxed);
            let mut rankings = Rankings::default();
            for query in queries {
                let user = query.user.unwrap();
                let len = if user == 3 { 1 } else { top.k };
                rankings.push((0..len as u32).map(|at| ((user + at) % 50, 1.0 / (at + 1) as f32)));
            }
            Ok(rankings)
        }
    }

    fn cases() -> Cases {
        let lines = (0..5000u32).map(|user| vec![user % 50]);
        Cases::each_interaction(
            &Interactions::new(50, Lists::from_iter(lines), None, None).unwrap(),
        )
    }

    fn counting(folder: Option<&Path>) -> (Arc<Counting>, KeptTeacher) {
        let ranker = Arc::new(Counting(AtomicUsize::new(0)));
        let teacher = Teacher::of_ranker("counting", ranker.clone());
        (ranker, KeptTeacher { teacher, folder: folder.map(Path::to_owned) })
    }

    fn requires(k: usize) -> Requirements {
        Requirements::lists(k)
    }

    #[test]
    fn lists_are_computed_once_and_resumed_wherever_the_file_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let cases = cases();
        let ask = |folder: Option<&Path>, k: usize| {
            let (ranker, teacher) = counting(folder);
            let trace =
                teacher.trace(&cases, requires(k), &mut |_, _| ControlFlow::Continue(())).unwrap();
            (trace.last().clone(), ranker.0.load(Ordering::Relaxed))
        };
        let (whole, queries) = ask(None, 4);
        assert_eq!((queries, whole.items(3)), (5000, &[3][..]));
        let here = Some(folder.path());
        assert_eq!(ask(here, 4), (whole.clone(), 5000));
        assert_eq!(ask(here, 4), (whole.clone(), 0), "kept");
        let path =
            fs::read_dir(folder.path().join("said")).unwrap().next().unwrap().unwrap().path();
        let request = requires(4).lists;
        assert_eq!(fs::metadata(&path).unwrap().len(), disk(&cases, request));
        let part = path.with_extension("part");
        let block = trace::BLOCK as u64;
        for (rows, and) in [(0, 0), (0, 7), (10, 7), (block + 3, 9), (4999, 0)] {
            fs::rename(&path, &part).unwrap();
            let bytes = if rows + and == 0 { 31 } else { 32 + 40 * rows + and };
            File::options().write(true).open(&part).unwrap().set_len(bytes).unwrap();
            assert_eq!(ask(here, 4), (whole.clone(), 5000 - rows as usize), "{rows} rows");
            assert!(path.exists() && !part.exists());
        }
        let flip = |path: &Path, at: u64| {
            let mut bytes = fs::read(path).unwrap();
            bytes[at as usize] ^= 1;
            fs::write(path, bytes).unwrap();
        };
        fs::rename(&path, &part).unwrap();
        flip(&part, 32 + 40 * 4000 + 17);
        assert_eq!(ask(here, 4), (whole.clone(), 1000), "rows after a flipped bit");
        flip(&path, 32 + 40 * 7 + 17);
        let (_, teacher) = counting(here);
        let damaged = teacher.trace(&cases, requires(4), &mut |_, _| ControlFlow::Continue(()));
        let damaged = format!("{:#}", damaged.unwrap_err());
        assert!(damaged.contains("row 7 does not match its checksum"), "{damaged}");
        assert!(damaged.contains("remove this file to record the lists again"), "{damaged}");
        assert!(damaged.contains(path.to_str().unwrap()), "{damaged}");
        File::options().write(true).open(&path).unwrap().set_len(32 + 40 * 4999).unwrap();
        assert_eq!(ask(here, 4), (whole.clone(), 5000), "truncated by another program");
        let longer = ask(here, 5);
        assert_eq!((longer.0.items(7).len(), longer.1), (5, 5000), "another request");
    }

    #[test]
    fn an_interrupted_recording_keeps_its_complete_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let (ranker, teacher) = counting(Some(folder.path()));
        let cases = cases();
        let stopped = teacher.trace(&cases, requires(4), &mut |_, _| ControlFlow::Break(()));
        let stopped = stopped.unwrap_err();
        assert!(matches!(stopped.root_cause().downcast_ref(), Some(Error::Interrupted)));
        let first = ranker.0.load(Ordering::Relaxed);
        assert!(first < 5000);
        assert_eq!(first, trace::BLOCK);
        let resumed = teacher.trace(&cases, requires(4), &mut |_, _| ControlFlow::Continue(()));
        assert_eq!(resumed.unwrap().last().len(), 5000);
        assert_eq!(
            ranker.0.load(Ordering::Relaxed),
            5000,
            "what was computed is not computed again"
        );
    }
}
