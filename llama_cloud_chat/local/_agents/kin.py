"""Other everyday words for the same thing: people do not ask in the words of the document."""

from __future__ import annotations

from functools import cache

from llama_cloud_chat.local._library.words import content_words

from .sentences import stems

# The words of a line stand for each other, in whichever form. Only words that a document may use without more ado.
_FAMILIES = """
holiday holidays vacation vacations leave
cost costs price prices fee fees charge charged rate expense
buy bought purchase order ordered
pay paid payment
begin began begins start starts commence commences effective
end ends finish stop terminate termination expire expires expiry
cancel cancelled terminate termination withdraw
sick ill illness sickness unwell disease
car cars vehicle vehicles
phone telephone call calls hotline
mail email e-mail
job position employment work
boss manager supervisor superior lead
salary wage wages pay
staff employees employee personnel people workforce colleagues
worker workers employee employees colleague colleagues
delete remove erase destroy
error errors fault faults failure bug problem problems issue issues
help support assistance
repair fix mend
ship shipping send sent deliver delivery delivered dispatch
arrive arrived receive received
return give back refund
refund refunded reimburse reimbursed reimbursement repay
allow allowed permit permitted permission may
forbidden prohibited ban banned
mandatory required obligatory compulsory must
raise increase rise risen grow
reduce reduced decrease lower fall
cap limit maximum ceiling exceed
maximum limit most largest
minimum least
duration period term length
contract agreement
company firm business employer corporation
customer customers client clients
supplier provider vendor
own owns owner ownership rights property belong
install installation setup
run execute launch
folder directory
picture image photo photograph
passphrase password
accept accepted refuse refused decline declined reject rejected
training course
child children kid kids
meal meals food lunch
quick fast rapid
safe secure security safety
injury injured hurt harm
broken damaged defective faulty damage
choose select pick
search find look
reply respond response answer
reason cause because
risk risks danger hazard
goal target aim objective
income revenue turnover sales
profit surplus earnings
loss losses lose lost
steal stolen theft
keep kept retain retention store stored
lawsuit dispute court jurisdiction
compensation damages liability
confidential secret secrecy confidentiality
notify notified report inform announce
permission consent approval approve authorise
breach violation violate
tax taxes vat
discount rebate reduction
voucher coupon
basket cart
address location place
opening open opens
closing close closes closed
trip journey travel
flight flights plane planes
remote home
parental parents birth maternity paternity
doctor medical physician
quit resign resignation notice
swap exchange replace replacement
quality purity
inhabitants residents citizens people population
supported supports compatible runs
backup backups
restore recover recovery
"""
_SPELLINGS = (("ise", "ize"), ("isation", "ization"), ("our", "or"), ("ence", "ense"), ("tre", "ter"), ("ogue", "og"))


def kin_of(word: str) -> list[str]:
    """Return other words for `word`: other spellings, and those of its families; none of its own forms."""
    own = stems(word)
    found = spellings_of(word)
    found += [other for stem in sorted(own) for family in _families().get(stem, ()) for other in family]
    return [other for other in dict.fromkeys(found) if own.isdisjoint(stems(other))]


def spellings_of(word: str) -> list[str]:
    """Return how else `word` is spelled: `licence` as `license`."""
    return [
        word[: -len(ending)] + instead
        for pair in _SPELLINGS
        for ending, instead in (pair, pair[::-1])
        if word.endswith(ending) and len(word) > len(ending) + 2
    ]


@cache
def _families() -> dict[str, list[list[str]]]:
    known: dict[str, list[list[str]]] = {}
    for family in map(content_words, _FAMILIES.strip().splitlines()):
        for stem in {stem for word in family for stem in stems(word)}:
            known.setdefault(stem, []).append(family)
    return known
