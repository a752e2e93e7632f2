//! What was run on a raw terminal, as far as it can be told: from the shell's marks, else from the screen.

use crate::event::{Observation, RecordingPosition};

/// A command that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) line: Vec<u8>,
    pub(crate) observed_by: Observation,
    pub(crate) position: RecordingPosition,
    pub(crate) exit_status: Option<u32>,
}

/// Puts together what is typed, what is shown and what the shell says.
pub(crate) struct Observer {
    /// The shell was started so that it makes marks.
    expects_marks: bool,
    /// It has made one before a prompt, so it is known when a command ends.
    prompts: bool,
    /// The marked command that runs. Lines that are entered meanwhile are for it: for a shell within the shell, perhaps.
    running: Option<Seen>,
    /// The number of the last history entry.
    number: Option<u64>,
    /// The column in which the typing of this line began.
    typed_from: Option<usize>,
    /// What stood on the screen of this line before it was broken off.
    begun: String,
    return_pressed: bool,
    /// The line on the screen when return was pressed, until the shell says what it was.
    read: Option<Seen>,
}

impl Observer {
    pub(crate) fn new(expects_marks: bool) -> Self {
        Self {
            expects_marks,
            prompts: false,
            running: None,
            number: None,
            typed_from: None,
            begun: String::new(),
            return_pressed: false,
            read: None,
        }
    }

    /// The user typed this. `cursor` is where the cursor stands in its line; none in a full-screen program.
    pub(crate) fn typed(&mut self, bytes: &[u8], cursor: impl FnOnce() -> Option<usize>) {
        let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        if self.typed_from.is_none() && bytes.first().is_some_and(|byte| !is_end(byte)) {
            self.typed_from = cursor();
        }
        self.return_pressed |= self.typed_from.is_some() && bytes.iter().any(is_end);
    }

    /// Where a line begins that is to be read off the screen before the next end of line is shown.
    pub(crate) fn reads_from(&self) -> Option<usize> {
        self.typed_from.filter(|_| self.return_pressed)
    }

    /// Where the line that is being typed begins.
    pub(crate) fn typed_from(&self) -> Option<usize> {
        self.typed_from
    }

    /// Something else is shown where the user types: `line` stands on the screen so far, and goes on in the first column of a new one.
    pub(crate) fn broken(&mut self, line: String) {
        self.begun.push_str(&line);
        self.typed_from = Some(0);
    }

    /// The line on the screen, from where typing began; none in a full-screen program. Returns what was run.
    pub(crate) fn read(&mut self, line: Option<String>, position: RecordingPosition) -> Option<Seen> {
        self.typed_from = None;
        self.return_pressed = false;
        let begun = std::mem::take(&mut self.begun);
        let line = line.map(|line| begun + &line).filter(|line| !line.trim().is_empty())?.into_bytes();
        let seen = Seen { line, observed_by: Observation::Screen, position, exit_status: None };
        if !self.expects_marks || (self.prompts && self.running.is_some()) {
            return Some(seen);
        }
        let before = self.read.replace(seen);
        // At a prompt that is marked the lines are those of one command. Elsewhere nobody said anything about the one before.
        before.filter(|_| !self.prompts)
    }

    /// The shell is about to show a prompt. Returns the command that ended.
    pub(crate) fn prompt(&mut self, exit_status: Option<u32>) -> Option<Seen> {
        let read = self.read.take().filter(|_| self.prompts);
        self.prompts = true;
        // A line that was entered without a mark: it made no sense to the shell, or the shell marks prompts alone.
        self.running.take().or(read).map(|seen| Seen { exit_status, ..seen })
    }

    /// The shell is about to run a command. Returns the one before it, of which it did not say how it ended, and the new one.
    pub(crate) fn command(
        &mut self,
        number: Option<u64>,
        entry: Vec<u8>,
        position: RecordingPosition,
    ) -> (Option<Seen>, Option<&Seen>) {
        let before = self.running.take();
        let grew = number > self.number && self.number.is_some();
        self.number = number;
        let (line, observed_by) = match self.read.take() {
            // The shell was told to keep this line out of its history: the entry is an older one.
            Some(read) if !grew && read.line.trim_ascii() != entry.trim_ascii() => {
                (read.line, Observation::Screen)
            }
            _ => (entry, Observation::PromptMarks),
        };
        if !line.is_empty() {
            self.running = Some(Seen { line, observed_by, position, exit_status: None });
        }
        (before, self.running.as_ref())
    }

    /// The terminal is gone. Returns the command that ran until then, and a line about which nobody said anything any more.
    pub(crate) fn end(&mut self) -> (Option<Seen>, Option<Seen>) {
        (self.running.take(), self.read.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> RecordingPosition {
        RecordingPosition::new("r", 0, offset)
    }

    fn lines(seen: Option<Seen>) -> Option<(String, Observation, Option<u32>)> {
        seen.map(|seen| (String::from_utf8(seen.line).unwrap(), seen.observed_by, seen.exit_status))
    }

    #[test]
    fn without_marks_the_line_is_what_stood_on_the_screen() {
        let mut observer = Observer::new(false);
        observer.typed(b"l", || Some(2));
        assert_eq!(observer.reads_from(), None);
        observer.typed(b"s\r", || panic!("typing began before"));
        assert_eq!(observer.reads_from(), Some(2));
        let seen = observer.read(Some("ls".into()), at(9));
        assert_eq!(lines(seen), Some(("ls".into(), Observation::Screen, None)));
        assert_eq!(observer.reads_from(), None);
        // Return alone, a password that is not shown, a full-screen program.
        observer.typed(b"\r", || panic!("nothing was typed"));
        assert_eq!(observer.reads_from(), None);
        observer.typed(b"hunter2\r", || Some(20));
        assert_eq!(observer.read(Some(" ".into()), at(9)), None);
        observer.typed(b":w\r", || None);
        assert_eq!(observer.reads_from(), None);
    }

    #[test]
    fn a_line_that_was_broken_off_by_a_notice_is_one_line() {
        let mut observer = Observer::new(false);
        observer.typed(b"rm -", || Some(2));
        observer.broken("rm -".into());
        observer.typed(b"rf x\r", || panic!("typing began before"));
        assert_eq!(observer.reads_from(), Some(0));
        let seen = observer.read(Some("rf x".into()), at(9));
        assert_eq!(lines(seen), Some(("rm -rf x".into(), Observation::Screen, None)));
        observer.typed(b"id\r", || Some(2));
        assert_eq!(lines(observer.read(Some("id".into()), at(9))).unwrap().0, "id");
    }

    #[test]
    fn with_marks_the_shell_says_what_ran_and_how_it_ended() {
        let mut observer = Observer::new(true);
        assert_eq!(observer.prompt(Some(0)), None);
        assert_eq!(observer.command(Some(5), b"make".to_vec(), at(7)).0, None);
        assert_eq!(lines(observer.prompt(Some(2))), Some(("make".into(), Observation::PromptMarks, Some(2))));
        observer.command(Some(6), b"vi".to_vec(), at(8));
        assert_eq!(lines(observer.end().0), Some(("vi".into(), Observation::PromptMarks, None)));
    }

    #[test]
    fn a_line_kept_out_of_the_history_is_not_taken_for_the_one_before_it() {
        let mut observer = Observer::new(true);
        observer.prompt(None);
        observer.command(Some(5), b"ls".to_vec(), at(0));
        observer.prompt(Some(0));
        observer.typed(b" rm x\r", || Some(2));
        assert_eq!(observer.read(Some(" rm x".into()), at(0)), None);
        observer.command(Some(5), b"ls".to_vec(), at(0));
        assert_eq!(lines(observer.prompt(Some(1))), Some((" rm x".into(), Observation::Screen, Some(1))));
        // The same line again grows nothing, and is what the entry says.
        observer.typed(b"ls\r", || Some(2));
        observer.read(Some("ls".into()), at(0));
        observer.command(Some(5), b"ls".to_vec(), at(0));
        assert_eq!(lines(observer.end().0), Some(("ls".into(), Observation::PromptMarks, None)));
    }

    #[test]
    fn inside_a_marked_command_lines_are_read_off_the_screen() {
        let mut observer = Observer::new(true);
        observer.prompt(Some(0));
        observer.command(Some(1), b"sudo -i".to_vec(), at(0));
        observer.typed(b"id\r", || Some(2));
        assert_eq!(
            lines(observer.read(Some("id".into()), at(3))),
            Some(("id".into(), Observation::Screen, None))
        );
        assert_eq!(
            lines(observer.prompt(Some(0))),
            Some(("sudo -i".into(), Observation::PromptMarks, Some(0)))
        );
    }

    #[test]
    fn a_shell_that_marks_prompts_alone_says_how_lines_on_the_screen_ended() {
        let mut observer = Observer::new(true);
        // Typed before the first prompt: the shell has not read it yet.
        observer.typed(b"make\r", || Some(0));
        observer.read(Some("make".into()), at(1));
        assert_eq!(observer.prompt(Some(0)), None);
        observer.typed(b"make\r", || Some(2));
        assert_eq!(observer.read(Some("make".into()), at(1)), None);
        assert_eq!(lines(observer.prompt(Some(2))), Some(("make".into(), Observation::Screen, Some(2))));
    }

    #[test]
    fn a_shell_that_marks_commands_alone_has_each_seen_once() {
        let mut observer = Observer::new(true);
        for (number, line) in [(1, "ls"), (2, "id"), (3, "w")] {
            observer.typed(line.as_bytes(), || Some(2));
            observer.typed(b"\r", || None);
            assert_eq!(observer.read(Some(line.into()), at(number)), None);
            let (before, runs) = observer.command(Some(number), line.into(), at(number));
            assert_eq!(before.is_some(), number > 1);
            assert_eq!(runs.unwrap().line, line.as_bytes());
        }
    }

    #[test]
    fn where_marks_never_come_the_screen_is_what_there_is() {
        let mut observer = Observer::new(true);
        observer.typed(b"ls\r", || Some(2));
        assert_eq!(observer.read(Some("ls".into()), at(1)), None);
        observer.typed(b"id\r", || Some(2));
        assert_eq!(
            lines(observer.read(Some("id".into()), at(2))),
            Some(("ls".into(), Observation::Screen, None))
        );
        assert_eq!(lines(observer.end().1), Some(("id".into(), Observation::Screen, None)));
    }
}
