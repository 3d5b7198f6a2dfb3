"""Speech: features of recordings (`features`, `store`), and models that name the emotion from them.

| module | job |
|---|---|
| `features` | samples in; a log-mel spectrogram, the pitch or a cleaned waveform out; every choice is an option |
| `store` | features of a whole corpus, once, memory-mapped |
| `augment` | random changes of a batch of spectrograms |
| `recipe` | how a model is trained, every choice with its name |
| `batches` | recordings of different length as tensors |
| `models` | the convolutional network; padding never changes what it says |
| `training` | the loop, for any network over sequences |
| `statistics` | a recording as one vector, for static models |
| `fit` | one fit: what may be learned from in, posteriors out |
| `learner` | the door: a model's name in, the function that `cross_fitting.cross_fit` takes out |
"""
