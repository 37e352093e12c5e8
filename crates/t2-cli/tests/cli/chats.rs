//! Conversations.

use crate::support::{World, finish};

fn chat(world: &World, lines: &str) -> (i32, Vec<String>, String) {
    let done = finish(&mut world.command(&["chat", "model", "--max-new-tokens", "4"]), lines);
    (done.code, done.stdout.lines().map(str::to_owned).collect(), done.stderr)
}

#[test]
fn one_answer_a_line_until_the_end() {
    let world = World::new();
    let (code, answers, _) = chat(&world, "one plus two\n\nwhat is ten\n");
    assert_eq!((code, answers.len()), (0, 2));
    let (code, answers, _) = chat(&world, "one\n/quit\ntwo\n");
    assert_eq!((code, answers.len()), (0, 1));
    assert_eq!(chat(&world, "").0, 0);
}

#[test]
fn the_conversation_is_remembered_until_it_is_reset() {
    let world = World::new();
    let template = "{% for m in messages %}{{ m.content }} {% endfor %}is";
    world.write("model/chat_template.jinja", template);
    let answers = |lines: &str| chat(&world, lines).1;
    let fresh = answers("ten\n");
    assert_eq!(answers("one plus two\n/reset\nten\n").last(), fresh.last());
    let histories = ["one", "one plus two", "what", "five six seven", "nine nine"];
    let differ = |first: &&str| answers(&format!("{first}\nten\n")).last() != fresh.last();
    assert!(histories.iter().any(differ), "no history changes the answer");
}

#[test]
fn a_full_context_forgets_the_oldest_turns_and_a_long_line_is_refused() {
    let world = World::new();
    let template = "{% for m in messages %}{{ m.content }} {% endfor %}is";
    world.write("model/chat_template.jinja", template);
    let (code, answers, stderr) = chat(&world, &"one two three four five\n".repeat(5));
    assert_eq!((code, answers.len()), (0, 5));
    assert!(stderr.contains("forgot 2 turns"), "{stderr}");
    let (code, answers, stderr) = chat(&world, &format!("{}\nten\n", "one ".repeat(40)));
    assert_eq!((code, answers.len()), (0, 1));
    assert!(stderr.contains("error: prompt 0 has 41 tokens"), "{stderr}");
    // The conversation goes on as if the line had not been written.
    let with = chat(&world, &format!("one two three\n{}\nten\n", "one ".repeat(40))).1;
    assert_eq!(with, chat(&world, "one two three\nten\n").1);
}

#[test]
fn a_chat_has_no_json() {
    let world = World::new();
    let done = world.run(&["chat", "model", "--json"]);
    assert_eq!((done.code, done.stdout.as_str()), (1, ""));
    assert!(done.stderr.contains("t2 generate --json"));
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_it_with_130() {
    use std::io::BufRead;
    use std::process::{Command, Stdio};

    let world = World::new();
    let mut command = world.command(&["chat", "model"]);
    let mut chat = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Held open: waiting for a child closes its stdin, and the end of the conversation may be seen before the signal.
    let _stdin = chat.stdin.take();
    let mut greeting = String::new();
    std::io::BufReader::new(chat.stderr.take().unwrap()).read_line(&mut greeting).unwrap();
    // Twice, as the first may come before it waits for a line. By then it may be gone.
    for _ in 0..2 {
        Command::new("kill").args(["-INT", &chat.id().to_string()]).stderr(Stdio::null()).status().unwrap();
    }
    assert_eq!(chat.wait().unwrap().code(), Some(130));
}
