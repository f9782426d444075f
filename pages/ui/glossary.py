"""The words of the field, each explained in place: one component (assets/glossary), given a typed Python face."""

from __future__ import annotations

import streamlit as st

from pages.ui import assets

TERMS = {
    "token": (
        "A piece of text that the decoder reads and writes as a whole: here a word, a character or a pair of "
        "bytes. Inside it is a number, its id. Written ωₜ, where t counts from 0."
    ),
    "decoder": (
        "The network that this explorer is about: it reads tokens from left to right and says after each of them how likely "
        "every token of its vocabulary is to come next."
    ),
    "corpus": "The texts that a decoder is trained on. Most are made by a small grammar here, so the best loss is known.",
    "vocabulary": "All tokens that the decoder knows, special ones included; V is their number.",
    "target": (
        "The token that should be predicted at a position. It is the next token of the same text, so nobody has "
        "to write it down."
    ),
    "start token": "<s>, put before a text, so that its first word is predicted from something.",
    "end token": "</s>, put after a text. A decoder that has learned to predict it knows when to stop.",
    "batch": "Several sequences that are read at once, one per row. They do not see each other.",
    "padding": (
        "Tokens <pad> that fill short rows, so that a batch is a rectangle. A pad is an ordinary row of the "
        "embedding table, not a zero vector; it is never a target that counts."
    ),
    "sample": "One sequence of a batch. Its number stands above in brackets: ω⁽²⁾₃ is token 3 of sample 2.",
    "logits": (
        "One number per token of the vocabulary, the output of the decoder at a position. The output layer makes them from "
        "the contextual embedding, after one more norm; the softmax makes probabilities of them. Written z, drawn red."
    ),
    "loss": (
        "−ln of the probability that the decoder gives to the target, in nats: 0 if it is certain and right, "
        "0.69 for one half, 2.3 for a tenth. The loss of a batch is the mean over its real targets."
    ),
    "nats": (
        "The unit of a loss, from the natural logarithm: 1 nat for a probability of 1/e, about 37 %. One nat is 1.44 bits."
    ),
    "update": (
        "One step of training: a batch is read, its loss is computed, and every weight is moved a little so that the loss "
        "would have been smaller."
    ),
    "parameters": (
        "All numbers that training sets: the embedding table, the weights of every layer and of the output layer, and the "
        "position vectors where they are learned."
    ),
    "seed": "The number from which all chance is derived: the same seed gives the same training, bit by bit.",
    "floor": (
        "The least loss that is possible on a corpus whose grammar is known: what cannot be foreseen costs every "
        "decoder something. Drawn as a dashed line with its formula."
    ),
    "exact match": "A prompt that is continued without a single mistake: every token is the one that had to come.",
    "valid sentence": "One that the decoder wrote by itself and that keeps every rule of the grammar of its corpus.",
    "true history": "The real tokens before a position, taken from the data.",
    "teacher forcing": (
        "Training with the true history: whatever the decoder predicts, its next input is the true token. The usual way."
    ),
    "free running": (
        "Training on own predictions: the next input is what the decoder predicted itself, right or wrong. The target "
        "stays the true token. The lecture calls it regular training."
    ),
    "scheduled sampling": (
        "A mixture: each next input is the true token with a probability that falls during training, else an own "
        "prediction."
    ),
    "prediction": "The token with the largest logit, or one drawn by the probabilities. Written with a hat: ω̂ₜ.",
    "prefix": "The first tokens of a text, up to some place: what a decoder has read when it predicts the next one.",
    "context": (
        "The tokens that the decoder can see at once, at most its context length. If a text grows longer, the first ones "
        "fall out of sight."
    ),
    "temperature": (
        "A number that all logits are divided by before the softmax: below 1 the likely tokens become likelier, above 1 all "
        "become more alike. Their order stays."
    ),
    "top-k": "Only the k most likely tokens may be drawn; the probabilities of all others become 0.",
    "top-p": "Only the fewest tokens whose probabilities together reach p may be drawn.",
    "embedding table": (
        "One row of numbers per token of the vocabulary, set by training. A token's id says which row is its embedding."
    ),
    "position vector": (
        "A vector that depends on the place of a token only, pₜ at time t. It is added to the token's embedding, so that the "
        "decoder can tell where a token stands."
    ),
    "embedding": "A token's row of the embedding table: a vector of numbers that training sets.",
    "width": (
        "How many numbers the vector of a position has on its way through the decoder, d. The same at every position and "
        "from layer to layer, and chosen before training. The heads of a layer share it out: the queries, keys and values of "
        "one head have d divided by the number of heads."
    ),
    "query": (
        "What a position asks for: a vector made from the one that the position has when it enters the layer, one per head. "
        "Rows of the matrices."
    ),
    "key": (
        "What a position offers to be found by: a vector made, like the query, from the one that the position has when it "
        "enters the layer, one per head. Columns of the matrices."
    ),
    "score": (
        "Query times key, number by number and added up, divided by the root of how many numbers each of the two has: how "
        "well they fit. That many is the width of the decoder divided by its number of heads."
    ),
    "mask": "Says which keys each query may look at; the causal mask closes those that come later.",
    "causal mask": (
        "Keeps every position from reading what stands after it: it may look at itself and at what came before, nothing else."
    ),
    "softmax": (
        "Makes shares of numbers: e to the power of each, divided by the sum of all these. The largest number gets the "
        "largest share, −∞ gets none, and all shares together are 1."
    ),
    "weight": "What the softmax makes of a score: a share of 1.",
    "value": (
        "What a position hands over to those that look at it: a vector made, like query and key, from the one that the "
        "position has when it enters the layer, one per head. Written v."
    ),
    "head": "One attention of its own, with its own queries, keys and values. Several work side by side in a layer.",
    "layer": "One block of the decoder: attention, then an MLP. Each reads what the one before it has made.",
    "MLP": (
        "The second half of a layer: two projections with a bend between them, computed at each position from its own vector "
        "alone."
    ),
    "projection": "A vector made from another one: each of its numbers is a sum of all those, with weights set by training.",
    "contextual embedding": (
        "The vector of a position after the last block: its token, mixed with what it has looked at. The output layer reads "
        "it after one more norm, which brings its numbers to one scale. Written h, drawn grey."
    ),
    "residual stream": (
        "The vector of a position on its way through the blocks. Each block only adds to it, so nothing in it is overwritten."
    ),
    "entropy": (
        "How widely a row of weights is spread, in nats: 0 if one place gets all, ln n if n places get the same."
    ),
}


# The words of the strip that stands on top of every page.
OF_THE_STRIP = (
    "decoder",
    "corpus",
    "layer",
    "head",
    "width",
    "parameters",
    "seed",
    "update",
    "teacher forcing",
)


_component = st.components.v2.component(
    "decoder_glossary",
    html='<div class="root" role="group" aria-label="words of this page"></div>',
    css=assets.text("glossary/glossary.css"),
    js=assets.ELEMENTS + assets.text("glossary/glossary.js"),
)


def explain(*terms: str) -> None:
    """Offer terms of TERMS in a line, each once; each opens where it stands, in the browser alone."""
    _component(key="glossary", data={"terms": {term: TERMS[term] for term in terms}})
