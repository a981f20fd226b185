"""Number words from 1 to 99. German says the ones before the tens, in one word: 27 is seven-and-twenty."""


def _table(small: str, tens: str) -> tuple[list[str], list[str]]:
    return small.split(), ["", "", *tens.split()]


ENGLISH, ENGLISH_TENS = _table(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen",
    "twenty thirty forty fifty sixty seventy eighty ninety",
)
GERMAN, GERMAN_TENS = _table(
    "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn "
    "siebzehn achtzehn neunzehn",
    "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig",
)


def english_number(number: int) -> str:
    """The English word of a number from 1 to 99: 27 is `twenty-seven`."""
    if number < 20:
        return ENGLISH[number]
    tens, ones = divmod(number, 10)
    return ENGLISH_TENS[tens] + (f"-{ENGLISH[ones]}" if ones else "")


def german_number(number: int) -> str:
    """The German word of a number from 1 to 99: 27 is `siebenundzwanzig`, 21 is `einundzwanzig`."""
    if number < 20:
        return GERMAN[number]
    tens, ones = divmod(number, 10)
    first = "ein" if ones == 1 else GERMAN[ones]
    return (f"{first}und" if ones else "") + GERMAN_TENS[tens]
