//! What teachers said, on disk: asked once, written as they answer, gone on with after an interruption, and shared by all
//! students that ask the same.
//!
//! A file is that of [`rankstill::core::answers`], written as `.part` and renamed when it is whole. Each block is on the disk before the
//! next is asked for, and the last one of a part is not trusted. Whole files are read where they lie.

use super::trajectory;
use anyhow::{Context as _, Result};
use rankstill::core::answers::{AnswersFile, AnswersHeader, HEADER_LEN};
use rankstill::core::{
    Answers, Candidates, Cases, Embedded, Error, ListRequest, Model, Ranker, Rankings,
    Requirements, TeacherRecipe, Trace,
};
use rankstill::distill::{Fused, Fusion, Recorded, trace};
use std::fs::{self, File};
use std::io::{BufWriter, Seek as _, SeekFrom, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A model that can be asked.
pub enum Ready {
    /// It was fitted here, and is kept in this folder.
    Fitted(Arc<dyn Model>, PathBuf),
    /// Some other system's lists, one a state of its training, the last as it is now.
    Recorded(Vec<Arc<Recorded>>),
    /// Several of these as one.
    Fused(Arc<Fused<Arc<dyn Ranker>>>),
}

impl Ready {
    /// An ensemble of `members`; where users weigh them, they do so by `valid`.
    ///
    /// # Errors
    /// When the fusion's settings do not fit them or the data.
    pub fn fused<'r>(
        members: impl Iterator<Item = &'r Self>,
        fusion: &Fusion,
        valid: &Cases,
    ) -> Result<Self> {
        let members = members.map(Self::ranker).collect();
        Ok(Self::Fused(Arc::new(Fused::new(members, fusion.clone())?.weighed_on(valid)?)))
    }

    /// To be asked.
    pub fn ranker(&self) -> Arc<dyn Ranker> {
        match self {
            Self::Fitted(model, _) => model.clone(),
            Self::Recorded(states) => states[states.len() - 1].clone(),
            Self::Fused(members) => members.clone(),
        }
    }

    /// As the teacher `name`.
    pub fn teacher<'b>(&self, name: &'b str) -> Teacher<'b> {
        let (mut model, mut folder, mut states) = (None, None, Vec::new());
        match self {
            Self::Fitted(fitted, here) => {
                (model, folder) = (Some(fitted.clone()), Some(here.clone()));
            }
            Self::Recorded(recorded) => states.clone_from(recorded),
            Self::Fused(_) => {}
        }
        Teacher { name, ranker: self.ranker(), model, folder, states, learning: None }
    }
}

/// Whom to ask.
pub struct Teacher<'a> {
    /// As the experiment calls it.
    pub name: &'a str,
    /// Answers.
    pub ranker: Arc<dyn Ranker>,
    /// The same, where it was fitted here.
    pub model: Option<Arc<dyn Model>>,
    /// Where what it says is kept, in `said` and `trajectory`; without one it is asked every time.
    pub folder: Option<PathBuf>,
    /// Its states, where they come from elsewhere; the last is the ranker.
    pub states: Vec<Arc<Recorded>>,
    /// How it comes about, where it is fitted here.
    pub learning: Option<TeacherRecipe>,
}

impl Teacher<'_> {
    /// Of a model that is fitted here.
    #[must_use]
    pub fn with_recipe(self, learning: Option<TeacherRecipe>) -> Self {
        Self { learning, ..self }
    }
}

/// All that a distiller wants to know of a teacher about the distinct queries of `cases`.
///
/// # Errors
/// When the teacher does not answer, somebody interrupts, or the disk is full.
pub fn lesson(
    teacher: &Teacher<'_>,
    cases: &Cases,
    wants: Requirements,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Trace> {
    let states = match &teacher.folder {
        Some(folder) if wants.trajectory => trajectory::read(teacher.name, folder, cases)?,
        None if wants.trajectory && teacher.states.len() > 1 => {
            let said = |(at, state): (usize, &Arc<Recorded>)| {
                let trace = trace::record(teacher.name, &**state, cases, wants.lists, progress)?;
                Ok((at, trace.last().clone()))
            };
            let states = teacher.states.iter().enumerate().map(said).collect::<Result<_>>()?;
            Some(Trace::new(teacher.name, states)?)
        }
        _ => None,
    };
    let mut trace = match states {
        Some(trace) => trace,
        None if wants.lists.k == 0 => silent(teacher.name, cases)?,
        None => said(teacher, cases, wants.lists, progress)?,
    };
    if wants.labelled_ranks {
        trace = trace.with_labelled_ranks(trace::labelled_ranks(&*teacher.ranker, cases)?)?;
    }
    // Of a teacher without vectors the distiller says what it thinks.
    let factored =
        teacher.model.as_ref().filter(|_| wants.vectors).and_then(|model| model.factored());
    if let Some(factored) = factored {
        let queries = cases.distinct_queries();
        trace = trace.with_embedded(Embedded::new(teacher.name, factored, &queries)?)?;
    }
    if let Some(learning) = teacher.learning.as_ref().filter(|_| wants.recipe) {
        trace = trace.with_recipe(learning.clone());
    }
    Ok(trace)
}

/// No lists: where only vectors are wanted.
fn silent(name: &str, cases: &Cases) -> Result<Trace> {
    let mut nothing = Rankings::default();
    (0..cases.n_queries()).for_each(|_| nothing.push([]));
    Ok(Trace::new(name, vec![(0, nothing)])?)
}

/// What the teacher says about the distinct queries of `cases`: as it is kept, as far as that goes, and asked from there on.
///
/// # Errors
/// When the teacher does not answer, somebody interrupts, or the disk is full.
pub fn said(
    teacher: &Teacher<'_>,
    cases: &Cases,
    request: ListRequest,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Trace> {
    let Some(folder) = &teacher.folder else {
        return Ok(trace::record(teacher.name, &*teacher.ranker, cases, request, progress)?);
    };
    let folder = folder.join("said");
    let header = header(cases, request);
    let path = folder.join(format!("{:016x}.lists", header.questions));
    if header.rows_in(&path) < header.queries {
        let part = path.with_extension("part");
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        record(teacher, cases, request, &header, &part, progress)
            .with_context(|| part.display().to_string())?;
        fs::rename(&part, &path).with_context(|| path.display().to_string())?;
    }
    let said = Answers::of_file(AnswersFile::open(&path, cases.n_items())?);
    Ok(Trace::new(teacher.name, vec![(0, said)])?)
}

/// Bytes that the lists of `lesson` take on disk.
#[must_use]
pub fn disk(cases: &Cases, request: ListRequest) -> u64 {
    header(cases, request).file()
}

/// Of all questions and of what is asked for: other cases or another lesson have another file.
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
    teacher: &Teacher<'_>,
    cases: &Cases,
    request: ListRequest,
    header: &AnswersHeader,
    path: &Path,
    progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<()> {
    // What was written last before the power went may be there in length only.
    let done = header.rows_in(path).saturating_sub(trace::BLOCK as u64);
    let mut file = File::options().create(true).truncate(false).write(true).open(path)?;
    file.set_len(HEADER_LEN as u64 + done * header.row())?; // a row that was half written goes
    file.write_all(&header.bytes())?;
    file.seek(SeekFrom::End(0))?;
    let mut file = BufWriter::new(file);
    let mut keep = |answers: Rankings| {
        let answers = answers.into();
        let mut write = || -> std::io::Result<()> {
            header.write_rows(&mut file, &answers)?;
            file.flush()?;
            file.get_ref().sync_data()
        };
        write().map_err(Error::io(path))
    };
    let (name, ranker) = (teacher.name, &*teacher.ranker);
    Ok(trace::record_from(done as usize, name, ranker, cases, request, &mut keep, progress)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rankstill::core::{Interactions, Lists, Query, TopK};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Says items in an order of the user's own, fewer to user 3, and counts how often it is asked.
    struct Counting(AtomicUsize);
    impl Ranker for Counting {
        fn rank(&self, queries: &[Query<'_>], top: &TopK<'_>) -> rankstill::core::Result<Rankings> {
            self.0.fetch_add(queries.len(), Ordering::Relaxed);
            let mut said = Rankings::default();
            for query in queries {
                let user = query.user.unwrap();
                let len = if user == 3 { 1 } else { top.k };
                said.push((0..len as u32).map(|at| ((user + at) % 50, 1.0 / (at + 1) as f32)));
            }
            Ok(said)
        }
    }

    fn cases() -> Cases {
        let lines = (0..5000u32).map(|user| vec![user % 50]);
        Cases::each_interaction(
            &Interactions::new(50, Lists::from_iter(lines), None, None).unwrap(),
        )
    }

    #[test]
    fn lists_are_asked_for_once_and_gone_on_with_wherever_the_file_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let (cases, request) = (cases(), ListRequest { k: 4, candidates: Candidates::Unlabelled });
        let ranker = Arc::new(Counting(AtomicUsize::new(0)));
        let at = |folder: Option<&Path>| Teacher {
            name: "counting",
            ranker: ranker.clone(),
            model: None,
            folder: folder.map(Path::to_owned),
            states: Vec::new(),
            learning: None,
        };
        let ask = |folder: Option<&Path>, request| {
            let before = ranker.0.load(Ordering::Relaxed);
            let trace = said(&at(folder), &cases, request, &mut |_, _| ControlFlow::Continue(()));
            (trace.unwrap().last().clone(), ranker.0.load(Ordering::Relaxed) - before)
        };
        let (whole, asked) = ask(None, request);
        assert_eq!((asked, whole.items(3)), (5000, &[3][..]));
        let here = Some(folder.path());
        assert_eq!(ask(here, request), (whole.clone(), 5000));
        assert_eq!(ask(here, request), (whole.clone(), 0), "kept");
        let path =
            fs::read_dir(folder.path().join("said")).unwrap().next().unwrap().unwrap().path();
        assert_eq!(fs::metadata(&path).unwrap().len(), disk(&cases, request));
        let part = path.with_extension("part");
        let block = trace::BLOCK as u64;
        for (rows, and, again) in
            [(0, 0, 0), (0, 7, 0), (10, 7, 0), (block + 3, 9, 3), (4999, 0, 4999 - block)]
        {
            fs::rename(&path, &part).unwrap();
            let bytes = if rows + and == 0 { 31 } else { 32 + 32 * rows + and };
            File::options().write(true).open(&part).unwrap().set_len(bytes).unwrap();
            assert_eq!(ask(here, request), (whole.clone(), 5000 - again as usize), "{rows} rows");
            assert!(path.exists() && !part.exists());
        }
        File::options().write(true).open(&path).unwrap().set_len(32 + 32 * 4999).unwrap();
        assert_eq!(ask(here, request), (whole.clone(), 5000), "cut by somebody");
        let longer = ask(here, ListRequest { k: 5, ..request });
        assert_eq!((longer.0.items(7).len(), longer.1), (5, 5000), "another lesson");
    }

    #[test]
    fn a_recording_that_was_stopped_keeps_what_was_said() {
        let folder = tempfile::tempdir().unwrap();
        let (cases, request) = (cases(), ListRequest { k: 4, candidates: Candidates::Unlabelled });
        let ranker = Arc::new(Counting(AtomicUsize::new(0)));
        let teacher = Teacher {
            name: "counting",
            ranker: ranker.clone(),
            model: None,
            folder: Some(folder.path().into()),
            states: Vec::new(),
            learning: None,
        };
        let stopped = said(&teacher, &cases, request, &mut |_, _| ControlFlow::Break(()));
        let stopped = stopped.unwrap_err();
        assert!(matches!(stopped.root_cause().downcast_ref(), Some(Error::Interrupted)));
        let first = ranker.0.load(Ordering::Relaxed);
        assert!(first < 5000);
        assert_eq!(first, trace::BLOCK);
        let told = said(&teacher, &cases, request, &mut |_, _| ControlFlow::Continue(()));
        assert_eq!(told.unwrap().last().len(), 5000);
        assert_eq!(ranker.0.load(Ordering::Relaxed), 5000 + first, "the last block is not trusted");
    }
}
