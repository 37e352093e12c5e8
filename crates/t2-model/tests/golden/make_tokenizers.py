"""Writes tokenizers/ beside this script: small tokenizers of every format, with the ids that their own library gives.

    python make_tokenizers.py
    python make_tokenizers.py --real OUT --data DATA --models MODELS

Needs sentencepiece, tiktoken, transformers, gguf and llama-cpp-python (made with 0.2.3, 0.14.0, 5.24.0, 0.19.0 and
0.3.36). The tokenizers are trained here, on sentences of our own; nothing is downloaded.

With --real it writes the ids of the same texts by real tokenizers to OUT, for the test that T2_TOKENIZERS=OUT turns on:
of MODELS/*.gguf by llama.cpp, and of the folders of DATA that are there by the library each was made for.
"""

import argparse
import base64
import io
import json
import re
import shutil
import tempfile
import unicodedata
from pathlib import Path

import gguf
import llama_cpp
import sentencepiece
import tiktoken
import tiktoken.load
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from texts import CODE, NUMBERS, PROSE, RUNS, SCRIPTS, SPACES, TEXTS

HERE = Path(__file__).parent
LLAMA_3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SENTENCES = [text for text in [*PROSE, *NUMBERS, *CODE, *SPACES, *SCRIPTS, *RUNS] if text.strip()] * 4
USER_DEFINED = ["<sep>", "▁▁▁▁", "[INST]", "ab"]
# Replacements that a normalizer takes the longest of: `e` with an accent, Hangul, the ends of lines, small letters.
RULES = [
    ("e\u0301", "é"), ("e\u0301\u0323", "ẹ́"), ("\r\n", " "), ("\r", " "), ("\n", " "), ("\t", " "), ("\u3000", " "),
    ("ﬁ", "fi"), ("\u1112\u1161", "하"), ("\u1112\u1161\u11ab", "한"), ("\u200b", ""), ("A", "a"), ("Ａ", "a"),
]


def by_pieces(processor, control, added=()):
    """Ids by SentencePiece, where special tokens in the text are read whole, as transformers and llama.cpp do."""
    special = {piece: processor.piece_to_id(piece) for piece in control} | dict(added)
    pattern = "|".join(re.escape(piece) for piece in sorted(special, key=len, reverse=True))

    def ids(text):
        parts = re.split(f"({pattern})", text) if pattern else [text]
        return [id for part in parts for id in ([special[part]] if part in special else processor.encode(part))]

    return ids


def by_llama_cpp(path, pre):
    """Ids by llama.cpp, which does not compose characters first, as the tokenizers of Qwen2 do."""
    model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    prepared = (lambda text: unicodedata.normalize("NFC", text)) if pre == "qwen2" else str
    return lambda text: model.tokenize(prepared(text).encode(), add_bos=False, special=True)


def by_folder(tokenizer):
    return lambda text: tokenizer.encode(text, add_special_tokens=False)


def by_transformers(tokenizer):
    return lambda ids: tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def train_sentencepiece(model_type, **settings):
    model = io.BytesIO()
    settings = dict(vocab_size=420, character_coverage=1.0, hard_vocab_limit=False, minloglevel=2) | settings
    sentences = iter(text.replace("\n", " ") for text in SENTENCES)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=sentences, model_writer=model, model_type=model_type, num_threads=1, **settings
    )
    return model.getvalue()


def write_sentencepiece(out, model_type, config, **settings):
    """A folder with a tokenizer.model, and the ids by SentencePiece."""
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        if settings.pop("rules", False):
            for source, target in RULES:
                print(*(" ".join(f"{ord(c):04X}" for c in side) for side in (source, target)), sep="\t", file=rules)
            rules.flush()
            settings["normalization_rule_tsv"] = rules.name
        else:
            settings.setdefault("normalization_rule_name", "identity")
        blob = train_sentencepiece(model_type, **settings)
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(blob)
    # What the model was trained by is no part of what it is, and names files.
    for field in ("input", "model_prefix"):
        model.trainer_spec.ClearField(field)
    model.normalizer_spec.ClearField("normalization_rule_tsv")
    blob = model.SerializeToString()
    processor = sentencepiece.SentencePieceProcessor(model_proto=blob)
    control = [piece.piece for piece in model.pieces if piece.type in (2, 3)]
    special = {processor.piece_to_id(piece) for piece in control}
    write(out, by_pieces(processor, control), unless(special, processor.decode), **{"tokenizer.model": blob, "tokenizer_config.json": config})


def byte_level(digits=False):
    """Tokens and merges of a byte-level BPE."""
    tokenizer = Tokenizer(models.BPE())
    split = [pre_tokenizers.Digits(True)] if digits else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*split, ByteLevel(add_prefix_space=False)])
    trainer = trainers.BpeTrainer(vocab_size=480, initial_alphabet=sorted(ByteLevel.alphabet()), show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def bytes_of():
    """The byte of each character of the byte-level alphabet."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + at): byte for at, byte in enumerate(hidden)}


def write_ranks(out):
    """Ranks as Llama 3 has them: 256 bytes, then joined ones."""
    vocab, _ = byte_level()
    alphabet = bytes_of()
    tokens = [bytes(alphabet[c] for c in token) for token in sorted(vocab, key=vocab.get)]
    tokens.sort(key=lambda token: len(token) > 1)
    ranks = {token: rank for rank, token in enumerate(tokens)}
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
               "<|finetune_right_pad_id|>", "<|step_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>",
               "<|eot_id|>", "<|python_tag|>", "<|image|>"]
    special = {token: len(ranks) + at for at, token in enumerate(special)}
    encoding = tiktoken.Encoding("small", pat_str=LLAMA_3, mergeable_ranks=ranks, special_tokens=special)
    lines = "".join(f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks.items())
    decode = without(special.values(), encoding.decode)
    write(out, lambda text: encoding.encode(text, allowed_special="all"), decode, **{"tokenizer.model": lines.encode()})


def write_vocab_merges(out, name, config):
    """vocab.json and merges.txt, and the ids by transformers."""
    vocab, merges = byte_level()
    lines = "#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in merges)
    files = {"vocab.json": vocab, "merges.txt": lines.encode(), "tokenizer_config.json": config}
    write(out, None, **files)
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert type(tokenizer).__name__.startswith(name), type(tokenizer)
    write(out, by_folder(tokenizer), by_transformers(tokenizer), **files)


def write_gguf(out, fields):
    """The metadata of a GGUF vocabulary as JSON, and the ids by llama.cpp."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocabulary.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        if "name" in fields:
            writer.add_name(fields["name"])
        writer.add_tokenizer_model(fields["model"])
        if "pre" in fields:
            writer.add_tokenizer_pre(fields["pre"])
        writer.add_token_list(fields["tokens"])
        if "scores" in fields:
            writer.add_token_scores(fields["scores"])
        writer.add_token_types(fields["token_types"])
        if "merges" in fields:
            writer.add_token_merges(fields["merges"])
        for key in ("bos", "eos", "unk"):
            if key in fields:
                getattr(writer, f"add_{key}_token_id")(fields[key])
        if "add_space_prefix" in fields:
            writer.add_add_space_prefix(fields["add_space_prefix"])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        write(out, by_llama_cpp(path, fields.get("pre")), **{"gguf.json": fields})


def gguf_bytes(pre, special=()):
    vocab, merges = byte_level()
    tokens = [*sorted(vocab, key=vocab.get), *(token for token, _ in special)]
    types = [1] * len(vocab) + [kind for _, kind in special]
    fields = dict(model="gpt2", pre=pre, tokens=tokens, token_types=types, merges=[" ".join(pair) for pair in merges])
    return fields | dict(bos=len(vocab), eos=len(vocab) + 1)


def gguf_pieces(blob, **more):
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(blob)
    # Pieces of the user are stored as they stand in a text (convert_hf_to_gguf.py).
    texts = [piece.piece.replace("▁", " ") if piece.type == 4 else piece.piece for piece in model.pieces]
    scores = [piece.score for piece in model.pieces]
    types = [piece.type for piece in model.pieces]
    return dict(model="llama", tokens=texts, scores=scores, token_types=types, bos=1, eos=2, unk=0) | more


def write(out, ids, decode=None, **files):
    """A folder of `files`, `ids.json` with the ids of every text, and `decoded.json` with the texts that come back, where
    they are others, and null where `decode` does not say."""
    out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if not isinstance(content, bytes):
            content = (json.dumps(content, ensure_ascii=False) + "\n").encode()
        (out / name).write_bytes(content)
    if ids is not None:
        lines = ",\n".join(json.dumps(ids(text)) for text in TEXTS)
        (out / "ids.json").write_text(f"[\n{lines}\n]\n")
    if decode is not None:
        others = [[text, decoded] for text in TEXTS if (decoded := decode(ids(text))) != text]
        lines = ",\n".join(map(json.dumps, others))
        (out / "decoded.json").write_text(f"[\n{lines}\n]\n")


def unless(special, decode):
    """`decode` of ids that are no special tokens: SentencePiece spells some of them, transformers leaves them out."""
    return lambda ids: None if special & set(ids) else decode(ids)


def without(special, decode):
    """`decode` after special tokens have been left out."""
    return lambda ids: decode([id for id in ids if id not in special])


def small(out):
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / "texts.json").write_text(json.dumps(TEXTS, indent=0) + "\n")
    plain = dict(add_dummy_prefix=True, remove_extra_whitespaces=False, byte_fallback=True, vocab_size=620, split_digits=True)
    write_sentencepiece(out / "llama2", "bpe", {"legacy": True}, allow_whitespace_only_pieces=True, **plain)
    bare = plain | dict(add_dummy_prefix=False)
    write_sentencepiece(out / "gemma", "bpe", {}, user_defined_symbols=["\n", "\n\n", "<sep>", "▁▁▁▁"], **bare)
    write_sentencepiece(out / "bpe_of_users", "bpe", {}, user_defined_symbols=USER_DEFINED, **plain)
    write_sentencepiece(out / "bpe_rules", "bpe", {}, rules=True, remove_extra_whitespaces=True, control_symbols=["<cls>"])
    write_sentencepiece(out / "unigram", "unigram", {}, remove_extra_whitespaces=True, user_defined_symbols=USER_DEFINED)
    write_sentencepiece(out / "unigram_bytes", "unigram", {}, rules=True, **plain)
    write_ranks(out / "llama3")
    added = lambda first, tokens: {
        str(first + at): dict(content=token, lstrip=False, rstrip=False, normalized=False, single_word=False, special=special)
        for at, (token, special) in enumerate(tokens)
    }
    tokens = [("<|endoftext|>", True), ("<|im_start|>", True), ("<|im_end|>", True), ("<tool_call>", False)]
    qwen = dict(tokenizer_class="Qwen2Tokenizer", eos_token="<|im_end|>", pad_token="<|endoftext|>")
    write_vocab_merges(out / "qwen2", "Qwen2Tokenizer", qwen | dict(added_tokens_decoder=added(480, tokens)))
    gpt2 = dict(tokenizer_class="GPT2Tokenizer", eos_token="<|endoftext|>", bos_token="<|endoftext|>", unk_token="<|endoftext|>")
    write_vocab_merges(out / "gpt2", "GPT2Tokenizer", gpt2 | dict(added_tokens_decoder=added(480, tokens[:1])))
    special = [("<s>", 3), ("<|im_end|>", 3), ("<sep>", 4), ("<|endoftext|>", 3), ("[PAD1]", 5)]
    for pre in ("llama-bpe", "dbrx", "qwen2", "gpt-2", "smollm", "tekken", "gpt-4o", "default"):
        write_gguf(out / f"gguf_{pre}", gguf_bytes(pre, special))
    blob = (out / "llama2" / "tokenizer.model").read_bytes()
    write_gguf(out / "gguf_llama", gguf_pieces(blob))
    phi = gguf_pieces(blob, name="Phi-3 mini")
    for token in ("<|endoftext|>", "<|assistant|>", "<|end|>", "<|user|>"):
        phi["tokens"], phi["scores"], phi["token_types"] = [*phi["tokens"], token], [*phi["scores"], -1000.0], [*phi["token_types"], 3]
    write_gguf(out / "gguf_phi3", phi)
    blob = (out / "gemma" / "tokenizer.model").read_bytes()
    write_gguf(out / "gguf_gemma", gguf_pieces(blob, add_space_prefix=False))


METADATA = dict(
    model="tokenizer.ggml.model", pre="tokenizer.ggml.pre", name="general.name", tokens="tokenizer.ggml.tokens",
    scores="tokenizer.ggml.scores", token_types="tokenizer.ggml.token_type", merges="tokenizer.ggml.merges",
    bos="tokenizer.ggml.bos_token_id", eos="tokenizer.ggml.eos_token_id", unk="tokenizer.ggml.unknown_token_id",
    pad="tokenizer.ggml.padding_token_id", eot="tokenizer.ggml.eot_token_id", add_bos="tokenizer.ggml.add_bos_token",
    add_eos="tokenizer.ggml.add_eos_token", add_space_prefix="tokenizer.ggml.add_space_prefix",
    chat_template="tokenizer.chat_template",
)


def real(out, data, models):
    out.mkdir(parents=True, exist_ok=True)
    (out / "texts.json").write_text(json.dumps(TEXTS, indent=0) + "\n")
    for path in sorted(models.glob("*.gguf")):
        fields = gguf.GGUFReader(path).fields
        metadata = {name: fields[key].contents() for name, key in METADATA.items() if key in fields}
        write(out / path.stem, by_llama_cpp(path, metadata.get("pre")), **{"gguf.json": metadata})
    if (folder := data / "tok_smollm2").exists():
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
        copy(folder, out / "tok_smollm2", by_folder(tokenizer), by_transformers(tokenizer))
    if (folder := data / "tok_llama2_32k_minueza").exists():
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
        copy(folder, out / "tok_llama2", by_folder(tokenizer), by_transformers(tokenizer))
    if (folder := data / "tok_qwen2.5").exists():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        copy(folder, out / "tok_qwen2.5", by_folder(tokenizer), by_transformers(tokenizer))
    if (folder := data / "tok_llama3").exists():
        ranks = tiktoken.load.load_tiktoken_bpe(str(folder / "tokenizer.model"))
        added = json.loads((folder / "tokenizer_config.json").read_text())["added_tokens_decoder"]
        special = {token["content"]: int(id) for id, token in added.items()}
        encoding = tiktoken.Encoding("llama3", pat_str=LLAMA_3, mergeable_ranks=ranks, special_tokens=special)
        decode = without(special.values(), encoding.decode)
        copy(folder, out / "tok_llama3", lambda text: encoding.encode(text, allowed_special="all"), decode)
    if (folder := data / "tok_mistral_v0.3").exists():
        processor = sentencepiece.SentencePieceProcessor(str(folder / "tokenizer.model.v3"))
        control = [processor.id_to_piece(id) for id in range(len(processor)) if processor.is_control(id) or processor.is_unknown(id)]
        special = {processor.piece_to_id(piece) for piece in control}
        copy(folder, out / "tok_mistral_v0.3", by_pieces(processor, control), unless(special, processor.decode))


def copy(folder, out, ids, decode):
    files = [path for path in folder.iterdir() if path.is_file() and path.name.startswith(("tokenizer", "vocab", "merges", "special", "added"))]
    write(out, ids, decode, **{path.name: path.read_bytes() for path in files})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--real", type=Path)
    parser.add_argument("--data", type=Path, default=Path("."))
    parser.add_argument("--models", type=Path, default=Path("."))
    arguments = parser.parse_args()
    if arguments.real:
        real(arguments.real, arguments.data, arguments.models)
    else:
        small(HERE / "tokenizers")


if __name__ == "__main__":
    main()
