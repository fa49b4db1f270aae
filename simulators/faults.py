def apply(seed, sent):
    return sent
