"""Texts that tokenizers disagree on: digits, contractions, scripts, emoji, code, white space, special tokens in the text."""

PROSE = [
    "", "a", "A", "é", "ab", "Hello", " Hello", "the the the the",
    "Tom has 123 apples, 45 pears and a naïve cat.",
    "The quick brown fox jumps over the lazy dog.",
    "lower UPPER Title camelCaseWord PascalCaseWord SCREAMING_SNAKE kebab-case",
    "I'm sure you'll see they've won; it's what we'd do, isn't it?",
    "HE'S SURE THEY'LL SAY I'D'VE", "’tis the ’90s", "can't CAN'T can’t", "'s 't 're 've 'm 'll 'd 'S 'T", "'ſ 'ſt",
    "o'clock rock'n'roll", "d'été l'homme",
]
NUMBERS = [
    "0", "7", "42", "123", "1234", "12345678901234567890", "3.14159e-10", "1,234,567.89", "0xDEADBEEF", "²³¼½ ①② ⅷ",
    "٣٤٥ ४५६ 一二三", "1st 2nd 3rd 10%", "-5 +6 =7 $8 £9 €10", "2024-01-31T23:59:59Z", "192.168.0.1:8080", "a1b22c333d4444",
]
CODE = [
    'def f(x: int) -> str:\n    return f"{x!r:>10}"  # comment', "for (int i = 0; i < n; ++i) { a[i] += b[i] * 2; }",
    '<div class="x">&amp; &lt;</div>', "SELECT * FROM t WHERE a='b' AND c<>\"d\";", "x = [1, 2, 3][::-1]; y = {'a': None}\n",
    "if a && b || !c { return; }", "#include <stdio.h>\n\nint main(void) {\n\treturn 0;\n}\n", '$ ls -la | grep "^d" > /dev/null 2>&1',
    "https://example.com/a/b?c=d&e=f#g", "user@example.org", "C:\\Windows\\System32", "\\alpha \\beta \\frac{1}{2}",
    "a/b//c///d", "--flag=value -x", "{{ template }} {% tag %}", ")\n}\n", "        return None\n\n\nclass A:\n    pass\n",
]
SPACES = [
    " ", "  ", "   ", "\t", "\n", "\n\n", "\n\n\n", "\r\n", "\r", " leading", "  two leading", "   three", "trailing ",
    "trailing   ", " both ", "a\nb", "a\n\nb", "a \n b", "a\n \nb", "a\t\tb", "\ta", "a\t", "  a  b   c    d     e",
    "line\r\nline\r\n\r\nend", "x\u00a0y", "x\u3000y", "x\u2009y\u200bz", "x\u2028y\u2029z", "x\x0by\x0cz", "x\u0085y",
    "tabs\t \tand spaces", "\n  indented\n    more\n", "end.\n", "end. \n", "end.\n\n ", "!!!\n\n???", " " * 34 + "x",
    "\n" * 35 + "x", "\t" * 7 + "x",
]
SCRIPTS = [
    "東京は日本の首都です。", "你好，世界！这是一个测试。", "안녕하세요 세계", "Привет, мир! Это тест.", "Γειά σου Κόσμε", "مرحبا بالعالم",
    "שלום עולם", "नमस्ते दुनिया", "สวัสดีชาวโลก", "ქართული ენა", "Հայերեն", "አማርኛ", "ខ្មែរ", "தமிழ் மொழி", "বাংলা ভাষা", "Việt Nam đẹp",
    "Türkçe İıĞğ", "Straße GROẞ ŒUVRE œuvre", "ﬁﬂ ﬃ", "ǅ ǈ ǋ", "Tiếng Việt 123 東京456", "mixed漢字kana カタカナ", "a日b本c",
]
SIGNS = [
    "🦀", "🦀🦀🦀", "👩‍👩‍👧", "❤️ ♥", "🇩🇪🇯🇵", "👍🏽", "😀 text 😀text", "a🦀b", "☃ ★ ♫ → ≠ ∑ √ ∞", "“quotes” ‘single’ „low“ «angle»",
    "em—dash en–dash …", "©®™ °C µm", "♠♥♦♣", "🏳️‍🌈!", "####", "**bold****", "''''", "\"\"\"\" '\"'",
]
CHARACTERS = [
    "e\u0301", "cafe\u0301 nai\u0308ve", "\u1112\u1161\u11ab\u1100\u1173\u11af", "q\u0307\u0323", "\u0915\u093c", "A\u030a",
    "a\u0308\u0304", "\u0308", "x\u0301\u0301", "\ufeffbom", "zero\u200dwidth\u200c", "\u202ertl", "\ufffd", "\x00", "a\x00b",
    "\x01\x02\x1f", "\x7f", "\U00010348", "\U0001f98a\U000e0041", "\ue000 private", "▁", "▁a", "a▁b", "a▁", "▁▁ x", "Ａｂｃ １２３ ～",
]
SPECIAL = [
    "<s>", "</s>", "<s>hello</s>", "<unk>", "<pad>", "a<s>b", "a <s> b", "<s> a", "[INST] hi [/INST]", "<|im_start|>user\nhi<|im_end|>\n",
    "<|endoftext|>", "a<|endoftext|>b", "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>",
    "<start_of_turn>user\nhi<end_of_turn>\n", "<bos>x<eos>", "<0x0A>", "x<0x41>y", '<tool_call>{"a": 1}</tool_call>', "<sep>",
    "a<sep>b", "<sep>a<sep> <sep>", "<sep><sep>", "<SEP>", "<cls>x", "<|im_start|", "| im_end|>", "<<s>>", "<s|>", "<fim_prefix>",
    "<|fim_prefix|>a<|fim_suffix|>", "<unused0>", "<mask>", "<|end|> \n x", "<|user|>\nhi<|end|>\n<|assistant|>",
]
RUNS = [
    "aaaa", "aaaaa", "a" * 15, "-----", "-" * 14, "=====", "========", "......", "......... ", "ababababa", "abcabcabcab", "hahahahaha",
    "noooooo!", "____ ____", "xaaax xaax",
]

TEXTS = [*PROSE, *NUMBERS, *CODE, *SPACES, *SCRIPTS, *SIGNS, *CHARACTERS, *SPECIAL, *RUNS]
