"""``python -m motion_ray.client``."""

import sys

from motion_ray.client.command import main

if __name__ == "__main__":
    sys.exit(main())
