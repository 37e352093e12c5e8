//! How an example is asked: the plain prompt of a task, and its variants.

use std::collections::BTreeMap;

use minijinja::context;
use minijinja::value::Value;
use t2_chat::Message;

use super::fields::letters;
use super::spec::{DatasetSpec, Layout, Variant};
use super::template::Templates;
use crate::example::Example;

/// How a question without choices is asked where a description says nothing.
const QUESTION: &str = "{{ question }}";
/// How a question with choices is asked where a description says nothing.
const CHOICES: &str = "{{ question }}\n{{ lettered }}\nAnswer with the letter of the right choice.";
/// How an answer is shown where a description says nothing.
const REPLY: &str = "{{ reference }}";
/// What is scored for a choice where a description says nothing, as lm-evaluation-harness does.
const CONTINUATION: &str = " {{ choice }}";
/// Kojima et al. 2022, "Large Language Models are Zero-Shot Reasoners".
const STEP_BY_STEP: &str = "{{ plain }}\nLet's think step by step.";
/// As many as lm-evaluation-harness shows for GSM8K.
const SHOTS: usize = 5;

/// The ways to ask that every task has.
pub(crate) const EVERYWHERE: [&str; 3] = [PLAIN, "step-by-step", "few-shot"];
/// The way to ask where none is named.
pub(crate) const PLAIN: &str = "plain";

/// The variants of a description by name, with those that every task has.
pub(crate) fn variants(spec: &DatasetSpec) -> BTreeMap<String, Variant> {
    let of = |name: &str| match name {
        PLAIN => Variant { about: "the question as it is usually put".into(), ..Variant::default() },
        "step-by-step" => Variant {
            about: "the question, with a request to think step by step".into(),
            prompt: Some(STEP_BY_STEP.into()),
            ..Variant::default()
        },
        _ => Variant { about: "examples first".into(), shots: SHOTS, ..Variant::default() },
    };
    let everywhere = EVERYWHERE.map(|name| (name.to_owned(), of(name)));
    everywhere.into_iter().chain(spec.variants.clone()).collect()
}

/// What makes a conversation of an example.
pub(crate) struct Prompter {
    templates: Templates,
    system: Option<String>,
    layout: Layout,
    /// What is shown before a question, one more than is shown: a question is not shown to itself.
    shots: Vec<Example>,
    count: usize,
}

impl Prompter {
    /// # Errors
    ///
    /// Says which key of `spec` has a broken template.
    pub(crate) fn new(spec: &DatasetSpec, variant: &Variant) -> Result<Self, String> {
        let mut templates = Templates::new();
        let plain = if spec.choices.is_some() { CHOICES } else { QUESTION };
        templates.add("prompt", spec.prompt.as_deref().unwrap_or(plain))?;
        templates.add("reply", variant.reply.as_deref().or(spec.reply.as_deref()).unwrap_or(REPLY))?;
        templates.add("continuation", spec.continuation.as_deref().unwrap_or(CONTINUATION))?;
        if let Some(prompt) = &variant.prompt {
            templates.add("variant", prompt)?;
        }
        Ok(Self { templates, system: variant.system.clone(), layout: variant.layout, shots: vec![], count: 0 })
    }

    /// Shows `count` of `shots`, which are that many or one more, before every question.
    pub(crate) fn show(&mut self, count: usize, shots: Vec<Example>) {
        (self.count, self.shots) = (count, shots);
    }

    /// The conversation that asks `example`.
    ///
    /// # Errors
    ///
    /// Says which key asks for something that the example does not have.
    pub(crate) fn messages(&self, example: &Example) -> Result<Vec<Message>, String> {
        let mut messages: Vec<Message> = self.system.iter().map(Message::system).collect();
        let asked = self.asked(example)?;
        let mut text = String::new();
        let shots =
            self.shots.iter().filter(|shot| shot.question != example.question || shot.choices != example.choices);
        for shot in shots.take(self.count) {
            let (prompt, reply) = (self.asked(shot)?, self.templates.render("reply", &seen(shot, true))?);
            match self.layout {
                Layout::Turns => messages.extend([Message::user(prompt), Message::assistant(reply)]),
                Layout::Text => {
                    let space = if prompt.ends_with(char::is_whitespace) { "" } else { " " };
                    text += &format!("{prompt}{space}{reply}\n\n");
                }
            }
        }
        messages.push(Message::user(text + &asked));
        Ok(messages)
    }

    /// What is scored behind the prompt, for each choice.
    ///
    /// # Errors
    ///
    /// As [`Prompter::messages`].
    pub(crate) fn continuations(&self, example: &Example) -> Result<Vec<String>, String> {
        let choices = letters(&example.choices).into_iter().zip(&example.choices);
        let render = |(letter, choice)| self.templates.render("continuation", &context! { letter, choice });
        choices.map(render).collect()
    }

    fn asked(&self, example: &Example) -> Result<String, String> {
        let seen = seen(example, false);
        let plain = self.templates.render("prompt", &seen)?;
        match self.templates.has("variant") {
            true => self.templates.render("variant", &context! { plain, ..seen }),
            false => Ok(plain),
        }
    }
}

/// What a template sees of an example. The reference is for replies alone: no prompt can give it away.
fn seen(example: &Example, replies: bool) -> Value {
    let Example { question, choices, tests, meta, .. } = example;
    let letters = letters(choices);
    let lettered: Vec<String> =
        letters.iter().zip(choices).map(|(letter, choice)| format!("{letter}. {choice}")).collect();
    let lettered = lettered.join("\n");
    let (code, entry_points) = tests.as_ref().map(|tests| (&tests.code, &tests.entry_points)).unzip();
    let seen = context! { question, choices, letters, lettered, tests => code, entry_points, meta };
    match replies {
        true => context! { reference => example.reference, ..seen },
        false => seen,
    }
}
