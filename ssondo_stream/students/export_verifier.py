"""From a verifier in torch to the file of a bundle."""

import torch
from torch import nn

from ssondo_stream.bundle import VERIFIER_FILE, StudentSpec
from ssondo_stream.bundle_folder import trial_folder
from ssondo_stream.mel import log_mel
from ssondo_stream.onnx_student import EVIDENCE, FRAMES, OnnxVerifier
from ssondo_stream.students.export import LENGTHS, TOLERANCE, ParityError, difference_of, onnx_of, trial_audio


def verifier_onnx(verifier: nn.Module, spec: StudentSpec) -> bytes:
    """A verifier as ONNX, once ONNX Runtime says what torch says of sounds of several lengths.

    Args:
        verifier: frames [batch, time, n_mels] -> evidence [batch, labels], in evaluation mode.
        spec: of the bundle that it is for.

    Raises:
        ParityError: they differ by more than `TOLERANCE` of the largest evidence.
        BundleError: there is no room to try it.
    """
    content = onnx_of(verifier, (torch.zeros(1, LENGTHS[-1], spec.mel.n_mels),), [FRAMES], [EVIDENCE])
    sound = log_mel(trial_audio(spec, LENGTHS[-1]), spec.mel)
    with trial_folder({VERIFIER_FILE: content}) as trial:
        runs = OnnxVerifier(trial)
        for length in LENGTHS:
            with torch.inference_mode():
                expected = verifier(torch.from_numpy(sound[:length])[None])[0]
            difference = difference_of(torch.from_numpy(runs.run(sound[:length])), expected)
            if not difference <= TOLERANCE:
                raise ParityError(f"torch and ONNX Runtime differ by {difference:.1e} in the verifier, {length} frames")
    return content
