"""Made-up problems with answers that are hard to grade: rows for make_graders.py."""

# --- GSM8K: numbers in every dress -----------------------------------------------------------------------------------

NUMBERS = [
    # the number as a reference has it, ways to write it, ways to write another one
    ("18", ["18", "$18", "18.00", "18.", "０１８", "eighteen"], ["-18", "81", "1,8", "18.5"]),
    ("1,234", ["1,234", "1234", "$1,234", "1 234", "1.234"], ["-1,234", "12,34", "234"]),
    ("1000000", ["1,000,000", "1000000", "$1,000,000.00", "1e6", "10^6"], ["1,00,000", "100000"]),
    ("-7", ["-7", "−7", "–7", "-$7", "$-7"], ["7", "- 7", "10-7"]),
    ("0", ["0", "-0", "0.0", "zero", ".0"], ["00", "10"]),
    ("0.5", ["0.5", ".5", "1/2", "50%", "½"], ["0,5", "5", "0.05"]),
    ("3/4", ["3/4", "\\frac{3}{4}", "0.75", "75%"], ["4/3", "3"]),
    ("12.50", ["12.50", "$12.50", "12.5", "12,50"], ["1250", "12"]),
]

SAYINGS = [
    "{work}\n#### {x}",
    "{work} #### {x}.",
    "####{x}",
    "#### {x}\n#### 99",
    "#### 99\n\nWait, that is wrong.\n#### {x}",
    "### {x}",
    "#### Answer: {x}",
    "The answer is {x}.",
    "The answer is {x}",
    "The answer is {x}. I am 100% sure.",
    "the answer is {x}.",
    "The final answer is {x}",
    "The final answer is {x}.\n\nThe final answer is 99",
    "The final answer is {x} dollars for 3 people.",
    "**Answer:** {x}",
    "So she has {x} apples.",
    "\\boxed{{{x}}}",
    "$\\boxed{{1}}$, no: $\\boxed{{{x}}}$.",
    "It costs {x}... or so...",
    "答案是{x}。",
    "Ответ: {x}",
    "الجواب هو {x}",
    "{x}",
    " {x} \n",
    "{x}\n\nQuestion: What is 2 + 2?\nAnswer: 4",
]
WORK = "First 3 + 4 = <<3+4=7>>7, then we go on."
REFUSALS = [
    "I cannot answer this.", "", " ", "\n", "As a language model, I do not count apples.", "?", "...", "$", ",", ".", "-",
    "####", "#### ", "#### none", "The answer is", "The answer is .", "The final answer is $.", "$.,", "--5", "5-", "1.2.3",
    "12:30", "0x12", "H2O", "\x0018", "18\u2028", "1\u00a0234", "1\u202f234", "٣", "१८", "１８", "XVIII", "1e400", "#### 18\r\n",
]
REFERENCES = ["{work}\n#### {x}", "#### {x}", "{x}", "{work}\n#### {x}\n", "#### {x}."]


def gsm8k():
    rows = []
    for gold, right, wrong in NUMBERS:
        for at, number in enumerate(right + wrong):
            for step, saying in enumerate(SAYINGS):
                if (at + step) % 3 == 0 or number == gold:
                    reference = REFERENCES[(at + step) % len(REFERENCES)]
                    rows.append((reference.format(work=WORK, x=gold), saying.format(work=WORK, x=number)))
    for at, refusal in enumerate(REFUSALS):
        rows.append((REFERENCES[at % len(REFERENCES)].format(work=WORK, x=NUMBERS[at % 2][0]), refusal))
    return rows


# --- MATH: values in every spelling ----------------------------------------------------------------------------------

VALUES = [
    # the right answer, the same in other spellings, others
    (r"\frac{3}{4}", [r"\dfrac{3}{4}", r"\frac34", "3/4", "0.75", r"\frac{6}{8}", r"\tfrac{3}{4}", ".75", r"75\%"], [r"\frac{4}{3}", "0.749", r"-\frac{3}{4}", "3", "34"]),
    ("10,000", ["10000", r"10,\!000", r"10{,}000", "10,000.", r"\$10,000", "10^4", r"10\,000"], ["1,000", "10,00", "100000", "-10000"]),
    ("-5", ["-5", "−5", r"x=-5", r"{-5}", r"-5.0", r"-\frac{10}{2}"], ["5", "- 6", "+5"]),
    (r"2\sqrt{3}", [r"\sqrt{12}", r"2\sqrt3", r"\sqrt{3}\cdot 2", r"\frac{6}{\sqrt{3}}", r"2 \sqrt{3}", r"2\cdot\sqrt{3}", r"\sqrt{3}+\sqrt{3}", "2√3"], [r"\sqrt{6}", r"3\sqrt{2}", "3.4641", r"\sqrt{2}3"]),
    (r"\frac{\sqrt{2}+1}{2}", [r"\frac{1+\sqrt{2}}{2}", r"\frac{1}{2}+\frac{\sqrt2}{2}", r"\frac{1}{2(\sqrt{2}-1)}", r"(1+\sqrt{2})/2"], [r"\frac{\sqrt{2}-1}{2}", r"1+\frac{\sqrt{2}}{2}", "1.2071"]),
    (r"\left(2, -\frac{1}{3}\right)", [r"(2,-\frac{1}{3})", r"(2, -1/3)", r"\left(2,\frac{-1}{3}\right)", r"(x,y) = (2,-\frac13)", r"\big(2,-\tfrac13\big)"], [r"(-\frac{1}{3}, 2)", r"(2,\frac{1}{3})", r"[2,-\frac13]", "2"]),
    (r"[0,\infty)", [r"\left[0,\infty\right)", r"[0, \infty)", r"x \in [0,\infty)", r"[0,+\infty)"], [r"(0,\infty)", r"[0,\infty]", r"(-\infty,0]"]),
    (r"(-\infty,-2)\cup(3,\infty)", [r"(3,\infty) \cup (-\infty,-2)", r"\left(-\infty,-2\right)\cup\left(3,\infty\right)"], [r"(-\infty,-2]\cup(3,\infty)", r"(-\infty,-2)", r"(-2,3)"]),
    ("1,-2", ["-2, 1", "1, -2", r"-2 \text{ and } 1", r"\{1,-2\}", "x = 1 or x = -2", "1 and -2"], ["1,2", "1", "1,-2,3", "(1,-3)"]),
    (r"1 \pm \sqrt{2}", [r"1+\sqrt2, 1-\sqrt2", r"1-\sqrt{2},\ 1+\sqrt{2}", r"x = 1 \pm \sqrt{2}", r"1\mp\sqrt{2}"], [r"1+\sqrt{2}", r"\pm\sqrt{2}", r"-1\pm\sqrt{2}"]),
    (r"90^\circ", ["90", r"90^{\circ}", r"90\text{ degrees}", "90°", "90 degrees"], ["45^\\circ", r"\frac{\pi}{2}", "100"]),
    (r"12\text{ cm}^2", ["12", r"12 \text{ cm}^2", r"12\,\text{cm}^{2}", r"12 \mbox{ cm}^2", "12 cm^2"], ["144", r"12\pi", "13"]),
    (r"36\pi", [r"36 \pi", r"\pi \cdot 36", r"6^2\pi", r"\pi(36)", "36π", r"36\pi\text{ square feet}"], ["36", "113.1", r"\frac{36}{\pi}", r"36\pi^2"]),
    ("50\\%", ["50", r"50 \%", r"\frac{1}{2}", "50%", "0.5"], ["5", "0.05", "500"]),
    (r"3\frac{1}{2}", [r"\frac{7}{2}", "3.5", "3 1/2", r"3 \frac12", "7/2"], [r"\frac{3}{2}", "31/2", r"\frac{31}{2}"]),
    (r"x^2+2x+1", [r"1+2x+x^2", r"(x+1)^2", r"x^2 + 2x + 1", r"(x+1)(x+1)", r"x^{2}+2\cdot x+1"], [r"x^2+2x-1", r"x^2+1", r"(x-1)^2", r"y^2+2y+1"]),
    (r"y = 2x+3", [r"y=3+2x", r"2x+3", r"2x-y+3=0", r"y-3=2x"], [r"y=2x-3", r"y=3x+2", r"x=2y+3"]),
    (r"\begin{pmatrix} 1 & 2 \\ -3 & \frac{1}{2} \end{pmatrix}", [r"\begin{pmatrix}1&2\\-3&1/2\end{pmatrix}", r"\begin{bmatrix} 1 & 2 \\ -3 & 0.5 \end{bmatrix}", r"\begin{pmatrix} 1 & 2 \\ -3 & \frac12 \\ \end{pmatrix}"], [r"\begin{pmatrix} 1 & -3 \\ 2 & \frac{1}{2} \end{pmatrix}", r"\begin{vmatrix} 1 & 2 \\ -3 & \frac12 \end{vmatrix}", "1"]),
    (r"\text{Monday}", ["Monday", r"\text{monday}", r"\textbf{Monday}", r"\text{ Monday }"], ["Tuesday", r"\text{Friday}", "day Mon"]),
    (r"\text{(B)}", ["B", r"\text{B}", "(B)", r"\textbf{(B)}"], ["A", r"\text{(C)}", "b^2"]),
    (r"2+3i", ["3i+2", r"2 + 3i", r"2+3\sqrt{-1}", r"\frac{4+6i}{2}", r"\frac{13}{2-3i}"], ["2-3i", "5i", "5"]),
    (r"\sqrt[3]{16}", [r"2\sqrt[3]{2}", r"16^{1/3}", r"2^{4/3}", r"2\cdot 2^{\frac13}"], ["4", r"\sqrt{16}", r"2\sqrt{2}", "2.52"]),
    (r"\frac{1}{1+\frac{1}{x}}", [r"\frac{x}{x+1}", r"1-\frac{1}{x+1}", r"x/(1+x)"], [r"\frac{x+1}{x}", r"\frac{1}{x+1}", "x"]),
    (r"1010_2", [r"1010_{2}", r"1010_2"], ["10", "1010", r"1010_3", "1011_2"]),
    ("0.\\overline{3}", [r"\frac{1}{3}", "1/3", r"0.\overline{33}"], ["0.3", "0.33333", "3"]),
    (r"x \le 4", [r"x\leq 4", r"4 \ge x", "x <= 4"], ["x < 4", r"x \ge 4", "4"]),
    ("3:2", ["3 : 2", "3:2"], ["2:3", "3", "5"]),
    ("6!", ["720", r"6 \cdot 120", r"6!"], ["6", "120", "7!"]),
    (r"\$12.50", ["12.50", "12.5", r"\$12.5", r"\frac{25}{2}", r"12.50 \text{ dollars}"], ["12", "1250", "12.05"]),
    (r"\log_2 3", [r"\log_{2} 3", r"\log_2(3)"], [r"\log_3 2", r"\log 3", "1.585"]),
    ("17", ["17", "17.0", "017", "x = 17", "n=17", r"17\text{ apples}"], ["7", "1.7", "-17", "7 1", r"17\text{ dozen}", "seventeen"]),
]

# What is said, and whether it announces the answer in a way that we read.
ANNOUNCED = [
    (r"We find that the answer is $\boxed{{{x}}}$.", True),
    ("Final Answer: The final answer is ${x}$. I hope it is correct.", True),
    (r"So $\boxed{{{x}}}$. I hope that helps, and that you see why 7 is wrong!", True),
    (r"First $\boxed{{0}}$? No. It is $\boxed{{{x}}}$.", True),
    (r"Nein: \boxed{{{x}}} ist die Lösung. 答案如上。", True),
    ("The answer is ${x}$.", True),
    ("${x}$", True),
    (r"\[ \boxed{{{x}}} \]", True),
    ("Let $n$ be a number.\nThen the value is\n${x}$", True),
    (r"\fbox{{{x}}}", True),
    (r"So the answer is $\boxed{{{x}", False),
    (r"It was $\boxed{{{x}}}$, but I change my mind: $\boxed{{0}}$.", False),
]
UNSURE = [
    r"I cannot solve this.", "", " ", "$", "$$", r"\boxed{}", r"$\boxed{}$", r"\boxed", r"\boxed{", r"\boxed{?}",
    r"$\boxed{\text{I do not know}}$", "Final Answer: The final answer is . I hope it is correct.",
    "Final Answer: The final answer is", r"\boxed{\frac}", r"\boxed{\sqrt}", r"\boxed{\frac{1}}", r"\boxed{/}",
    r"\boxed{1/}", r"\boxed{\text{ a \text{ b}}}", r"\boxed{((((}", r"\boxed{1,000,00}", "答えは分かりません。",
]


def math():
    rows = []
    for at, (gold, same, other) in enumerate(VALUES):
        reference = rf"So $\boxed{{{gold}}}$."
        for step, answer in enumerate([gold, *same, *other]):
            # Each answer in a box, and in two other ways; the right one in every way.
            ways = {0, 1 + (at + step) % (len(ANNOUNCED) - 1), 1 + (at + 3 * step + 5) % (len(ANNOUNCED) - 1)}
            for way in sorted(ways if step else range(len(ANNOUNCED))):
                saying, announces = ANNOUNCED[way]
                rows.append((reference, saying.format(x=answer), announces and step <= len(same)))
    for at, unsure in enumerate(UNSURE):
        rows.append((rf"So $\boxed{{{VALUES[at % len(VALUES)][0]}}}$.", unsure, False))
    return rows


# --- ARC: letters in every sentence ----------------------------------------------------------------------------------

CHOICES = [
    ["The ice melts.", "The ice floats.", "The ice melts. The water rises.", "Nothing happens."],
    ["heat", "light", "heat and light", "sound"],
    ["5 m/s", "10 m/s", "15 m/s"],
    ["La glace fond", "重力", "Она тает", "(all of them)", "—"],
]
CHOOSING = [
    # a saying of the letter x with the text t, while y with u is another choice; whether x is chosen
    ("{x}", True), (" {x}", True), ("{x}.", True), ("({x})", True), ("{x})", True), ("{x}. {t}", True), ("({x}) {t}", True),
    ("The answer is {x}.", True), ("The answer is ({x}).", True), ("The best answer is {x}", True),
    ("the answer is: {x}", True), ("**{x}**", True), ("Answer: {x}", True), ("Answer: ({x}) {t}", True),
    ("I rule out ({y}), so it is ({x}).", True), ("({y}) is wrong. So the answer is {x}.", True),
    ("It cannot be {y}; the answer is {x}", True), ("The answer is {y}. No, the answer is {x}.", True),
    ("#### {x}", True), ("\\boxed{{{x}}}", True), ("$\\boxed{{\\text{{{x}}}}}$", True),
    ("正解は ({x}) です。", True), ("Правильный ответ: {x}", True), ("{x}\n\nQuestion: Which is it?\nAnswer: {y}", False),
    ("{t}", True), ("The answer is {t}", True), ("{x} and {y}", False), ("({x}) or ({y})", False), ("{y}", False),
    ("The answer is {y}, although ({x}) is tempting.", False), ("I do not know.", False), ("", False), ("?", False),
    ("All of them.", False), (" {x}\n", True), ("{x}: {t}", True), ("Choice {x} is correct, because {u} is not.", True),
]


def arc():
    rows = []
    for choices in CHOICES:
        for at, text in enumerate(choices):
            other = (at + 1) % len(choices)
            letters = dict(x="ABCDE"[at], y="ABCDE"[other], t=text, u=choices[other])
            for saying, chosen in CHOOSING:
                rows.append((choices, letters["x"], saying.format(**letters), chosen))
    return rows


GSM8K, MATH, ARC = gsm8k(), math(), arc()
