//! Answers that are programs: found in the text, run in the sandbox.

use super::{Grade, fences};
use crate::error::TaskError;
use crate::example::Example;
use crate::sandbox::{Outcome, Program, Sandbox};

/// The metric that a program is graded by, as the lm-evaluation-harness and evalplus call it.
const PASS_AT_1: &str = "pass@1,none";

/// Runs the program that `program_of` makes of each completion against the tests of its example.
pub(crate) fn grade(
    sandbox: &Sandbox,
    graded: &[(&Example, &str)],
    program_of: impl Fn(&Example, &str) -> String,
) -> Result<Vec<Grade>, TaskError> {
    let program = |(example, completion): &(&Example, &str)| Program {
        code: program_of(example, completion),
        tests: example.tests.clone().unwrap_or_default(),
    };
    let programs: Vec<Program> = graded.iter().map(program).collect();
    let outcomes = sandbox.run(&programs)?;
    let grade = |(Program { code, .. }, outcome): (Program, Outcome)| {
        let grade = Grade::new(Some(code), [(PASS_AT_1, outcome.is_passed())]);
        match outcome {
            Outcome::Passed => grade,
            Outcome::Failed { why } => Grade { why: Some(why), ..grade },
        }
    };
    Ok(programs.into_iter().zip(outcomes).map(grade).collect())
}

/// The program that `completion` holds. Where the question is a program that lacks its end, it comes first: with its
/// imports and helpers before one that writes the function anew, and to be continued by one that does not.
pub(crate) fn whole(example: &Example, completion: &str) -> String {
    let program = fences::program(completion);
    let asked = example.tests.as_ref().map_or(&[][..], |tests| &tests.entry_points);
    let defined = |source: &str| {
        let defines = |name: &String| source.lines().any(|line| line.trim_start().starts_with(&format!("def {name}(")));
        !asked.is_empty() && asked.iter().all(defines)
    };
    match (defined(&example.question), defined(&program)) {
        (true, false) => format!("{}{program}", example.question),
        // What has to stand at the very beginning of a file would not.
        (true, true) if !program.contains("from __future__") => format!("{}\n{program}", example.question),
        _ => program.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Tests;

    #[test]
    fn a_question_that_is_a_program_comes_first() {
        #[track_caller]
        fn check(question: &str, completion: &str, expected: &str) {
            let tests = Tests { entry_points: vec!["f".into()], ..Tests::default() };
            assert_eq!(whole(&Example::program(question, "", tests), completion), expected);
        }
        let stub = "import math\ndef f(x):\n    \"\"\"Add 3.\"\"\"\n";
        check(stub, "    return x + 3", "import math\ndef f(x):\n    \"\"\"Add 3.\"\"\"\n    return x + 3");
        let function = "def f(x):\n    return x + 3\n";
        check(stub, function, &format!("{stub}\n{function}"));
        check(stub, &format!("Here:\n```python\n{function}```"), &format!("{stub}\n{function}"));
        let postponed = format!("from __future__ import annotations\n{function}");
        check(stub, &postponed, &postponed);
        check("Write f(x) to add 3.", function, function);
        check("Write f(x) to add 3.", "return x + 3", "return x + 3");
    }
}
