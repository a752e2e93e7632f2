//! The line editor, on an emulated terminal.

use std::num::NonZeroU16;

use proptest::prelude::*;
use session_filter::limits::{LINE_BYTES_MAX, PASTE_BYTES_MAX, TYPED_AHEAD_BYTES_MAX};
use session_filter::shell::completion::Completion;
use session_filter::shell::{Action, Editor};

const PROMPT: &str = "alice@box:~$ ";
/// More than any line of these tests takes, unless a test is about that.
const ROWS: u16 = 120;

/// An editor and the terminal it draws on.
struct Seat {
    editor: Editor,
    terminal: vt100::Parser,
    cols: u16,
}

impl Seat {
    fn new(cols: u16) -> Self {
        Self::with_rows(cols, ROWS)
    }

    fn with_rows(cols: u16, rows: u16) -> Self {
        let size = |side| NonZeroU16::new(side).unwrap();
        let mut seat = Self {
            editor: Editor::new(u32::from(cols), u32::from(rows)),
            terminal: vt100::Parser::new(size(rows), size(cols), 0),
            cols,
        };
        seat.begin();
        seat
    }

    fn begin(&mut self) {
        self.editor.begin(PROMPT);
        self.show();
    }

    fn show(&mut self) {
        let drawn = self.editor.drawn();
        self.terminal.process(drawn.as_bytes());
    }

    /// Types and says what came of it. Completion finds nothing.
    fn type_(&mut self, bytes: impl AsRef<[u8]>) -> Vec<Action> {
        assert!(self.editor.feed(bytes.as_ref()));
        self.act()
    }

    fn act(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some(action) = self.editor.step() {
            self.show();
            match &action {
                Action::Complete(_) => self.editor.offer(&Completion::default()),
                Action::Pause => {}
                Action::Line(line) => {
                    self.editor.history().push(line);
                    self.begin();
                }
                _ => self.begin(),
            }
            actions.push(action);
        }
        self.show();
        actions
    }

    fn lines(&mut self, bytes: impl AsRef<[u8]>) -> Vec<String> {
        let lines = self.type_(bytes).into_iter().filter_map(|action| match action {
            Action::Line(line) => Some(line),
            _ => None,
        });
        lines.collect()
    }

    fn screen(&self) -> String {
        self.terminal.screen().contents()
    }
}

#[test]
fn keys_edit_the_line_as_people_expect() {
    for (typed, line) in [
        ("echo one\r", "echo one"),
        ("echo one\n", "echo one"),
        ("ecko\x1b[D\x1b[D\x7fc\x05 x\r", "ecko x"),
        ("one two\x01zero \r", "zero one two"),
        ("abc\x1b[H\x1b[3~\r", "bc"),
        ("abc\x02\x02\x0b\r", "a"),
        ("abc def\x15\r", ""),
        ("abc def\x17xyz\r", "abc xyz"),
        ("abc def\x17\x19\x19\r", "abc defdef"),
        ("a/b-c\x1b\x7f\r", "a/b-"),
        ("one two\x1bb\x1bbX\r", "Xone two"),
        ("one two\x01\x1bfX\x1b[1;5CY\r", "oneX twoY"),
        ("one two\x01\x1bd\r", " two"),
        ("ab\x14\r", "ba"),
        ("abc\x02\x14\r", "acb"),
        ("abc\x1b[Dx\x04\r", "abx"),
        ("é漢🦀\x1b[D\x7f!\r", "é!🦀"),
        ("e\u{301}x\x1b[D\x7f\r", "x"),
        ("a\x1ab\x16c\x1b[24;80Rd\r", "abcd"),
        ("a\0b\r", "ab"),
        ("a\x1b[15~b\x1b]11;rgb:0/0/0\x07c\r", "abc"),
    ] {
        assert_eq!(Seat::new(80).lines(typed), [line], "{typed:?}");
    }
}

#[test]
fn return_and_line_feed_together_are_one_line() {
    assert_eq!(Seat::new(80).lines("a\r\nb\nc\r"), ["a", "b", "c"]);
    let mut seat = Seat::new(80);
    assert_eq!(seat.lines("a\r"), ["a"]);
    assert_eq!(seat.lines("\nb\r"), ["b"]);
}

#[test]
fn what_follows_a_line_waits_for_the_next_prompt() {
    let mut editor = Editor::new(80, 24);
    editor.begin(PROMPT);
    assert!(editor.feed(b"first\rsecond\rthi"));
    assert_eq!(editor.step(), Some(Action::Line("first".into())));
    assert_eq!(editor.taken(), b"first\r");
    assert!(editor.has_more());
    editor.begin(PROMPT);
    assert_eq!(editor.step(), Some(Action::Line("second".into())));
    editor.begin(PROMPT);
    assert_eq!(editor.step(), None);
    assert!(editor.feed(b"rd\r"));
    assert_eq!(editor.step(), Some(Action::Line("third".into())));
    assert_eq!(editor.taken(), b"second\rthird\r");
    assert!(!editor.has_more());
}

#[test]
fn more_than_the_limit_does_not_wait() {
    let mut editor = Editor::new(80, 24);
    assert!(editor.feed(&vec![b'x'; TYPED_AHEAD_BYTES_MAX]));
    assert!(!editor.feed(b"y"));
    assert_eq!(editor.drawn(), "\x07");
}

/// A line of which something is missing is not the line that anybody meant.
#[test]
fn a_line_that_is_not_what_was_typed_is_not_accepted() {
    let long = [vec![b'x'; LINE_BYTES_MAX + 100], b"\r".to_vec()].concat();
    for (typed, why) in [
        (long.as_slice(), "line refused: it is too long"),
        (b"rm caf\xe9/x\r", "line refused: not all that was typed is text"),
        ("echo a\u{85}b\r".as_bytes(), "line refused: not all that was typed is text"),
        (b"\x1b[200~a\x1b[201~\xff\x1b[200~b\nc\x1b[201~\r", "line refused: not all that was typed is text"),
    ] {
        let mut seat = Seat::new(1000);
        assert!(seat.editor.feed(typed));
        assert!(!matches!(seat.editor.step(), Some(Action::Line(line)) if !line.is_empty()), "{why}");
        let drawn = seat.editor.drawn();
        assert!(drawn.contains('\x07') && drawn.contains(why), "{why}");
        seat.act();
        assert_eq!(seat.lines("ok\r"), ["ok"]);
    }
    assert_eq!(Seat::new(80).lines(b"ab\xffc\r\x19\r"), ["abc"], "what there is of it can be had back");
    assert_eq!(Seat::new(80).lines(b"ab\xff\x15cd\r"), ["cd"], "an emptied line is as good as new");
    assert_eq!(Seat::new(80).lines(b"ab\xff\x03cd\r"), ["cd"]);
}

#[test]
fn ctrl_c_gives_up_the_line_and_ctrl_d_ends_only_an_empty_one() {
    let mut seat = Seat::new(80);
    assert_eq!(seat.type_("abc\x03"), [Action::Interrupt]);
    assert_eq!(seat.screen(), format!("{PROMPT}abc^C\n{}", PROMPT));
    assert_eq!(seat.type_("x\x01\x04\x04"), [Action::EndOfInput]);
}

#[test]
fn history_is_browsed_and_what_was_being_written_comes_back() {
    let mut seat = Seat::new(80);
    seat.type_("one\rtwo\rthree\r");
    assert_eq!(seat.lines("dra\x1b[A\x1b[A\r"), ["two"]);
    assert_eq!(seat.lines("draft\x1b[A\x1b[A\x1b[B\x1b[B\r"), ["draft"]);
    assert_eq!(seat.lines("\x10\x10\x0e!\r"), ["draft!"]);
}

#[test]
fn ctrl_r_searches_as_one_types() {
    let mut seat = Seat::new(80);
    seat.type_("df -h\ruptime\rdf -i\rls\r");
    seat.type_("\x12df");
    assert!(seat.screen().ends_with("(reverse-i-search)`df': df -i"), "{}", seat.screen());
    seat.type_("\x12");
    assert!(seat.screen().ends_with("(reverse-i-search)`df': df -h"), "{}", seat.screen());
    assert_eq!(seat.lines("\r"), ["df -h"]);
    assert_eq!(seat.lines("\x12upt\x05 -p\r"), ["uptime -p"]);
    assert_eq!(seat.lines("kept\x12df\x07\r"), ["kept"]);
    seat.type_("\x12zzz");
    assert!(seat.screen().contains("(failed reverse-i-search)`zzz'"), "{}", seat.screen());
    assert_eq!(seat.type_("\x03"), [Action::Interrupt]);
}

#[test]
fn a_paste_is_text_and_runs_line_by_line() {
    let mut seat = Seat::new(80);
    assert_eq!(seat.lines("\x1b[200~one\ntwo\r\nthr\tee\x1b[201~"), ["one", "two"]);
    assert_eq!(seat.lines("!\r"), ["thr ee!"]);
    // Not before its end has come.
    assert_eq!(seat.type_("\x1b[200~rm x\rrm y\r"), []);
    assert_eq!(seat.type_("\x1b[201"), []);
    assert_eq!(seat.lines("~"), ["rm x", "rm y"]);
}

#[test]
fn a_paste_that_would_act_as_keys_is_refused_whole() {
    for paste in ["a\x03b\r", "\x1b[Ax\r", "x\x15y\r", "a\x16\nb\r", "\0\r", "\u{9b}2J\r"] {
        let mut seat = Seat::new(80);
        assert_eq!(seat.type_(format!("\x1b[200~{paste}\x1b[201~")), [], "{paste:?}");
        assert!(
            seat.screen().contains("paste refused: the paste holds control characters"),
            "{}",
            seat.screen()
        );
        assert_eq!(seat.lines("ok\r"), ["ok"]);
    }
    let mut seat = Seat::new(80);
    for _ in 0..PASTE_BYTES_MAX / 1024 + 1 {
        assert_eq!(seat.type_(format!("\x1b[200~{}", "rm x\r".repeat(200))), []);
    }
    assert_eq!(seat.type_("\x1b[201~"), []);
    assert_eq!(seat.lines("ok\r"), ["ok"]);
}

#[test]
fn an_interrupt_drops_the_rest_of_a_paste() {
    let mut editor = Editor::new(80, 24);
    editor.begin(PROMPT);
    assert!(editor.feed(b"\x1b[200~one\ntwo\n\nthree\x1b[201~"));
    assert_eq!(editor.step(), Some(Action::Line("one".into())));
    assert_eq!(editor.drop_paste(), 2);
    editor.begin(PROMPT);
    assert_eq!(editor.step(), None);
}

#[test]
fn a_pasted_line_that_would_be_too_long_takes_the_rest_with_it() {
    let mut seat = Seat::new(1000);
    seat.type_(vec![b'x'; LINE_BYTES_MAX - 10]);
    assert_eq!(seat.type_("\x1b[200~0123456789abc\nrm y\n\x1b[201~"), []);
    assert!(seat.screen().contains("paste refused: the line would be too long"));
    assert_eq!(seat.lines("\r"), ["x".repeat(LINE_BYTES_MAX - 10)]);
}

#[test]
fn hidden_characters_are_shown_for_what_they_are() {
    let mut seat = Seat::new(80);
    assert_eq!(seat.lines("echo \u{202e}oof"), [""; 0]);
    assert_eq!(seat.screen(), format!("{PROMPT}echo \\u{{202e}}oof"));
    assert_eq!(seat.lines("\r"), ["echo \u{202e}oof"]);
}

fn completed(permitted: &[&str], typed: &str) -> (String, String) {
    let permitted: Vec<String> = permitted.iter().map(|text| (*text).to_owned()).collect();
    let mut seat = Seat::new(60);
    assert!(seat.editor.feed(typed.as_bytes()));
    while let Some(action) = seat.editor.step() {
        let Action::Complete(before) = action else { panic!("{action:?}") };
        seat.editor.offer(&Completion::of(&permitted, &before));
    }
    seat.show();
    let screen = seat.screen();
    let line = seat.lines("\r").concat();
    (line, screen)
}

#[test]
fn tab_completes_what_is_common_and_lists_the_rest_at_the_second() {
    let permitted =
        ["systemctl status *", "systemctl start nginx", "systemctl stop nginx", "echo 'two words'"];
    assert_eq!(completed(&permitted, "sy\t").0, "systemctl ");
    assert_eq!(completed(&permitted, "sy\tsto\t").0, "systemctl stop ");
    assert_eq!(completed(&permitted, "sy\ts\t").0, "systemctl st");
    assert_eq!(completed(&permitted, "sy\tsto\tx\x17ngi\t").0, "systemctl stop nginx ");
    assert_eq!(completed(&permitted, "echo tw\t").0, "echo 'two words' ");
    assert_eq!(completed(&permitted, "echo zz\t").0, "echo zz");
    assert_eq!(completed(&permitted, "s x\x01\x1b[C\x1b[3~\x05\x01y\x7f\x1b[C\t").0, "systemctl x");
    let (line, screen) = completed(&permitted, "systemctl \t\t");
    assert_eq!(line, "systemctl st");
    assert_eq!(screen, format!("{PROMPT}systemctl st\nstart   status  stop\n{PROMPT}systemctl st"));
}

fn typing() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "\x1b[D",
        "\x1b[C",
        "\x01",
        "\x05",
        "\x7f",
        "x\x04",
        "\x0b",
        "\x15",
        "\x17",
        "\x19",
        "\x14",
        "\x1bb",
        "\x1bf",
        "\x1b[A",
        "\x1b[B",
        "\x12",
        "\x07",
        "\t",
        "\x1b[200~ab c\x1b[201~",
    ]);
    prop_oneof![
        6 => "[a-d é漢🦀]{1,12}",
        6 => key.prop_map(str::to_owned),
        1 => "[a-d]{0,30}\r",
    ]
}

/// What a terminal shows that is simply given the text, and where its cursor is.
fn plainly(prompt_and_before: &str, after: &str, cols: u16) -> (Vec<String>, (usize, usize)) {
    let new = || vt100::Parser::new(NonZeroU16::new(120).unwrap(), NonZeroU16::new(cols).unwrap(), 0);
    let mut whole = new();
    whole.process(format!("{prompt_and_before}{after}").as_bytes());
    let mut before = new();
    before.process(prompt_and_before.as_bytes());
    let (mut row, mut col) = before.screen().cursor_position();
    let wide = after.chars().next().is_some_and(|c| matches!(c, '漢' | '🦀'));
    if col + u16::from(wide) >= cols {
        (row, col) = (row + 1, 0);
    }
    (trimmed(whole.screen()).collect(), (row.into(), col.into()))
}

/// Rows without the blanks at their ends: whether those were ever written cannot be seen.
fn trimmed(screen: &vt100::Screen) -> impl Iterator<Item = String> {
    screen.rows(0, u16::MAX).map(|row| row.trim_end().to_owned())
}

/// The row on which the last prompt begins.
fn above(seat: &Seat) -> usize {
    let rows: Vec<String> = seat.terminal.screen().rows(0, seat.cols).collect();
    rows.iter().rposition(|row| row.starts_with(PROMPT.trim_end())).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// However a line came about, the screen shows it as if it had just been written there.
    #[test]
    fn the_screen_shows_the_line_and_the_cursor(typed in prop::collection::vec(typing(), 1..30), cols in 14..40u16) {
        let mut seat = Seat::new(cols);
        typed.iter().for_each(|text| drop(seat.type_(text)));
        // Out of a search. The rows above stay as they are: only the prompt's are looked at.
        seat.type_("\x05");
        let above = above(&seat);
        let text = seat.editor.line().to_owned();
        for step in 0..3 {
            let cursor = seat.editor.cursor();
            let (head, tail) = text.split_at(cursor);
            let (rows, place) = plainly(&format!("{PROMPT}{head}"), tail, cols);
            let shown: Vec<String> = trimmed(seat.terminal.screen()).skip(above).collect();
            prop_assert_eq!(&shown[..], &rows[..shown.len()], "{:?} at {}", &text, cursor);
            let (row, col) = seat.terminal.screen().cursor_position();
            prop_assert_eq!((usize::from(row) - above, usize::from(col)), place, "{:?} at {}", &text, cursor);
            seat.type_(if step == 0 { "\x1bb" } else { "\x1b[D" });
        }
    }

    /// Of a line that is taller than the terminal, the rows around the cursor are shown as they would stand on a taller one.
    #[test]
    fn a_line_taller_than_the_terminal_shows_the_rows_around_the_cursor(
        typed in prop::collection::vec(typing(), 1..40), cols in 14..24u16, rows in 2..6u16)
    {
        let mut seat = Seat::with_rows(cols, rows);
        for text in typed.iter().filter(|text| !text.contains(['\r', '\x12'])) {
            seat.type_(text);
            let (head, tail) = seat.editor.line().split_at(seat.editor.cursor());
            let (whole, (row, col)) = plainly(&format!("{PROMPT}{head}"), tail, cols);
            let (shown_row, shown_col) = seat.terminal.screen().cursor_position();
            prop_assert_eq!(usize::from(shown_col), col, "{:?} | {:?}", head, tail);
            let above = row.checked_sub(shown_row.into());
            let end = plainly(&format!("{PROMPT}{head}{tail}"), "", cols).1.0;
            // The last row is left free where not all of them fit.
            let height = if end < rows.into() { rows } else { rows - 1 };
            for (number, shown) in trimmed(seat.terminal.screen()).take(height.into()).enumerate() {
                let Some(above) = above else { break };
                prop_assert_eq!(&shown, &whole[above + number], "{:?} | {:?} row {}", head, tail, number);
            }
            prop_assert!(above.is_some() || end < rows.into());
        }
    }

    /// No bytes make it panic, no accepted line holds a control character, and what is drawn acts on nothing but the cursor.
    #[test]
    fn any_bytes_may_be_typed(pieces in prop::collection::vec(
        prop_oneof![
            prop::collection::vec(any::<u8>(), 1..20),
            prop::sample::select(vec!["\x1b[200~", "\x1b[201~", "\r", "\t", "\x12", "\x1b[", "漢", "e\u{301}"]).prop_map(|s| s.as_bytes().to_vec()),
        ], 0..30), cols in 0..50u16, rows in 0..9u16)
    {
        let mut editor = Editor::new(u32::from(cols), u32::from(rows));
        editor.begin(PROMPT);
        for piece in pieces {
            prop_assert!(editor.feed(&piece));
            while let Some(action) = editor.step() {
                match action {
                    Action::Line(line) => prop_assert!(!line.chars().any(char::is_control), "{line:?}"),
                    Action::Complete(_) => { editor.offer(&Completion::of(&["echo a".into(), "echo b".into()], "echo ")); continue; }
                    _ => {}
                }
                editor.begin(PROMPT);
            }
            let drawn = editor.drawn();
            let plain = drawn.replace("\x1b[J", "").replace("\x1b[H\x1b[2J", "");
            let mut rest = plain.as_str();
            while let Some(at) = rest.find('\x1b') {
                let sequence = &rest[at..];
                let last = sequence[2..].find(|c: char| !c.is_ascii_digit()).unwrap() + 2;
                prop_assert!(sequence.starts_with("\x1b[") && matches!(sequence.as_bytes()[last], b'A'..=b'D'), "{drawn:?}");
                rest = &sequence[last..];
            }
            prop_assert!(plain.chars().all(|c| !c.is_control() || "\x1b\r\n\x08\x07".contains(c)), "{drawn:?}");
        }
    }
}

#[test]
fn a_narrower_terminal_gets_the_line_drawn_afresh() {
    let mut seat = Seat::new(40);
    seat.type_("a line that is longer than one row of it\x01");
    let mut narrow = vt100::Parser::new(NonZeroU16::new(120).unwrap(), NonZeroU16::new(20).unwrap(), 0);
    // What a terminal that wraps afresh shows, with the cursor behind the prompt.
    narrow.process(format!("{PROMPT}a line that is longer than one row of it\r\x1b[2A\x1b[13C").as_bytes());
    seat.editor.resize(20, ROWS.into());
    narrow.process(seat.editor.drawn().as_bytes());
    assert_eq!(
        narrow.screen().contents().replace('\n', ""),
        format!("{PROMPT}a line that is longer than one row of it")
    );
    assert_eq!(narrow.screen().cursor_position(), (0, 13));
}

#[test]
fn a_line_taller_than_the_terminal_is_left_whole_once_it_is_accepted() {
    let line = format!("echo {}", ('a'..='z').map(|letter| letter.to_string().repeat(5)).collect::<String>());
    for end in ["\r", "\x01\r", "\x1b[D\x03"] {
        let mut seat = Seat::with_rows(20, 4);
        // Where nothing scrolls off, all that was ever shown can be looked at.
        seat.terminal = vt100::Parser::new(NonZeroU16::new(ROWS).unwrap(), NonZeroU16::new(20).unwrap(), 0);
        seat.terminal.process(PROMPT.as_bytes());
        seat.type_(&line);
        assert_eq!(seat.screen(), "qqqrrrrrssssstttttuuuuuvvvvvwwwwwxxxxxyyyyyzzzzz", "{end:?}");
        seat.type_(end);
        let mark = if end.ends_with('\x03') { "^C" } else { "" };
        assert_eq!(seat.screen(), format!("{PROMPT}{line}{mark}\n{}", PROMPT), "{end:?}");
    }
}

#[test]
fn a_notice_comes_above_the_line() {
    let mut seat = Seat::new(80);
    seat.type_("half a li");
    seat.editor.notice("this session ends in 5 s\x1b[2J");
    seat.show();
    assert_eq!(seat.screen(), format!("this session ends in 5 s\\u{{1b}}[2J\n{PROMPT}half a li"));
    assert_eq!(seat.lines("ne\r"), ["half a line"]);
}

/// A few bytes can ask for the whole line to be drawn afresh, or for the whole history to be looked through.
#[test]
fn what_few_keys_ask_for_comes_in_pieces() {
    let mut editor = Editor::new(80, 24);
    editor.begin(PROMPT);
    assert!(editor.feed("\u{200b}".repeat(LINE_BYTES_MAX / 3).as_bytes()));
    assert_eq!(editor.step(), None);
    let line = editor.drawn().len();
    assert!(editor.feed(&b"\x1b[200~\x01\x1b[201~".repeat(60)));
    let (mut pauses, mut refused) = (0, 0);
    loop {
        let action = editor.step();
        let drawn = editor.drawn();
        assert!(drawn.len() < 64 * 1024 + 2 * line, "{} at once", drawn.len());
        refused += drawn.matches("paste refused").count();
        match action {
            Some(Action::Pause) => pauses += 1,
            None => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(pauses > 15, "{pauses}");
    assert_eq!(refused, 60);

    assert!(editor.feed(&b"\x12".repeat(5000)));
    let pauses = std::iter::from_fn(|| editor.step()).filter(|action| *action == Action::Pause).count();
    assert_eq!(pauses, 4);
}
