//! A chat template: whatever it says, it renders, fails, or runs out of fuel.

#![no_main]

use libfuzzer_sys::fuzz_target;
use t2_model::Message;
use t2_model::text::ChatTemplate;

fuzz_target!(|template: &str| {
    let messages = [
        Message::system("Be short."),
        Message::user("What is 6 * 7?"),
        Message::assistant("42"),
        Message::user("Why?"),
    ];
    let _ = ChatTemplate::new(template, Default::default()).render(&messages, &Default::default());
});
