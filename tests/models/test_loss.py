"""The loss beside a double loop that computes it one pair at a time."""

import math
import random

import pytest
import torch

from noduleclip.language import ATTRIBUTES, RATING_QUERIES, SizeInterval, sample_prompts
from noduleclip.language.query import ParsedQuery, parse_queries, parse_query
from noduleclip.models.clip import prior_logit
from noduleclip.models.loss import outline_loss, pairwise_sigmoid_loss, soft_targets


def slow_loss(
    images: torch.Tensor, sentences: torch.Tensor, targets: torch.Tensor, log_scale: float, bias: float
) -> float:
    total = 0.0
    for image, row in zip(images, targets, strict=True):
        for sentence, target in zip(sentences, row, strict=True):
            logit = math.exp(log_scale) * float(image @ sentence) + bias
            probability = 1 / (1 + math.exp(-logit))
            total -= float(target) * math.log(probability) + (1 - float(target)) * math.log(1 - probability)
    return total / targets.numel()


def test_loss_equals_the_double_loop() -> None:
    torch.manual_seed(0)
    images = torch.nn.functional.normalize(torch.randn(7, 5), dim=1)
    sentences = torch.nn.functional.normalize(torch.randn(11, 5), dim=1)
    targets = torch.rand(7, 11)
    loss = pairwise_sigmoid_loss(
        images, sentences, targets, torch.ones(7, 11, dtype=torch.bool), torch.tensor(1.3), torch.tensor(-0.4)
    )
    assert float(loss) == pytest.approx(slow_loss(images, sentences, targets, 1.3, -0.4), rel=1e-5)


def test_targets_equal_the_share_of_readers_one_by_one() -> None:
    generator = random.Random(1)
    sizes = [[generator.choice([3.0, 6.0, 10.0, 7.3, 22.0]) for _ in range(generator.randint(1, 4))] for _ in range(30)]
    padded = torch.tensor([row + [math.nan] * (4 - len(row)) for row in sizes])
    intervals = [prompt.interval for prompt in sample_prompts(60, generator)]
    intervals += [SizeInterval(6, 10, closed) for closed in ("both", "left", "right", "neither")]
    parsed_queries = [ParsedQuery(interval, (), ()) for interval in intervals]
    targets, known = soft_targets(padded, torch.empty(30, 4, 0), (), parsed_queries)
    assert known.all()
    for row, readers in zip(targets, sizes, strict=True):
        for target, interval in zip(row, intervals, strict=True):
            share = sum(interval.contains(size) for size in readers) / len(readers)
            assert float(target) == pytest.approx(share)


def test_a_bound_written_in_decimals_is_met_by_the_diameter_that_equals_it() -> None:
    targets, _ = soft_targets(torch.tensor([[7.3]]), torch.empty(1, 1, 0), (), [parse_query("<= 7.3 mm")])
    assert float(targets) == 1


def test_rated_targets_equal_the_share_of_readers_who_rated_one_by_one() -> None:
    torch.manual_seed(0)
    sizes = torch.rand(40, 4) * 20 + 3
    sizes[torch.rand(40, 4) < 0.3] = math.nan
    sizes[:, 0] = 8.0
    ratings = torch.randint(1, 6, (40, 4, len(ATTRIBUTES))).float()
    ratings[torch.rand(ratings.shape) < 0.2] = math.nan
    ratings[0] = math.nan
    parsed_queries = parse_queries([*RATING_QUERIES, "> 6 mm", "malignancy 3 and texture >= 2"])
    targets, known = soft_targets(sizes, ratings, ATTRIBUTES, parsed_queries)
    for nodule, at in torch.cartesian_prod(torch.arange(40), torch.arange(len(parsed_queries))).tolist():
        parsed, valid_mask = parsed_queries[at], []
        for size, rated in zip(sizes[nodule].tolist(), ratings[nodule].tolist(), strict=True):
            said = {one: rated[ATTRIBUTES.index(one.attribute)] for one in parsed.ratings}
            if math.isnan(size) or any(map(math.isnan, said.values())):
                continue
            fits = parsed.interval is None or parsed.interval.contains(size)
            valid_mask.append(fits and all(one.contains(rating) for one, rating in said.items()))
        assert bool(known[nodule, at]) == bool(valid_mask)
        assert float(targets[nodule, at]) == pytest.approx(sum(valid_mask) / max(1, len(valid_mask)))


def test_a_pair_that_nobody_judged_counts_for_nothing() -> None:
    torch.manual_seed(1)
    images, sentences = (torch.nn.functional.normalize(torch.randn(4, 5), dim=1) for _ in range(2))
    known = torch.rand(4, 4) < 0.5
    losses = [
        pairwise_sigmoid_loss(images, sentences, targets, known, torch.tensor(1.0), torch.tensor(0.0))
        for targets in (torch.zeros(4, 4), torch.where(known, 0.0, 1.0))
    ]
    assert float(losses[0]) == float(losses[1])


def test_bias_starts_at_the_share_of_positives() -> None:
    assert torch.sigmoid(torch.tensor(prior_logit(0.57))) == pytest.approx(0.57)
    assert math.isfinite(prior_logit(0.0))
    assert math.isfinite(prior_logit(1.0))


def test_outline_loss_is_that_of_a_plain_loop() -> None:
    generator = torch.Generator().manual_seed(1)
    logits, mask_probability = torch.randn(3, 4, 5, generator=generator), torch.rand(3, 4, 5, generator=generator)
    total = 0.0
    for nodule in (0, 2):
        pixels = overlap = mass = 0.0
        for y in range(4):
            for x in range(5):
                drawn, share = 1 / (1 + math.exp(-float(logits[nodule, y, x]))), float(mask_probability[nodule, y, x])
                pixels -= (share * math.log(drawn) + (1 - share) * math.log(1 - drawn)) / 20
                overlap += 2 * drawn * share
                mass += drawn + share
        total += (5 * pixels + 1 - (overlap + 1) / (mass + 1)) / 2
    known = torch.tensor([True, False, True])
    assert float(outline_loss(logits, mask_probability, known)) == pytest.approx(total, abs=1e-5)
    assert float(outline_loss(logits, mask_probability, torch.zeros(3, dtype=torch.bool))) == 0
