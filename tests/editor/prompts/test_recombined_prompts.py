from editor.emoji.profile import PROFILE
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval
from editor.prompts.prompt_builder import RECOMBINED_SHARE
from editor.prompts.recombined_prompts import recombined_texts

FOX = ResolvedRemoval(Concept("fox"), Destination("dog face", "replacement"))


def test_recombined_prompts_name_what_the_phrases_name_in_many_orders(builder: PromptBuilder) -> None:
    phrases = builder.retain_phrases([FOX])
    texts = recombined_texts(phrases, 200)
    assert texts == recombined_texts(phrases, 200)
    assert len({*texts}) > 150
    assert not any("fox" in text.split() for text in texts)
    first = {text.split()[0] for text in texts}
    assert len(first) > 30, "names and other words come first"
    assert all(any(name in text for name in PROFILE.object_names) for text in texts)


def test_retain_prompts_are_partly_recombined(builder: PromptBuilder) -> None:
    phrases = builder.retain_phrases([FOX])
    texts = builder.retain_texts(phrases, 100)
    templated = {phrase.text() for phrase in phrases}
    assert len(texts) == 100
    assert sum(text not in templated for text in texts) >= 0.8 * RECOMBINED_SHARE * 100
