"""Vision-language models behind HTTP: what every sort of endpoint shares.

Timeouts, bounded retries with backoff, a limit on concurrency, a budget, a cache by image and question.
Whatever a server does, `answer` ends within its time limit: with answers, with answers that can't be
read (unknown), or with one error. Keys come from the environment and go nowhere but into the request.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from urllib.parse import urlsplit

from soar.errors import ConfigError, ModelUnavailable
from soar.media import encode_png
from soar.types import Answer, Image
from soar.vlm.reading import Json

_WORTH_A_RETRY = frozenset({408, 409, 425, 429, *range(500, 600)})
_LARGEST_REPLY = 8_000_000
