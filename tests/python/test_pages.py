"""The Python of sdk/python/README.md, one block after the other, as it is printed."""

import os
import pathlib
import re
import tempfile
import unittest

repository = pathlib.Path(__file__).resolve().parents[2]


class Pages(unittest.TestCase):
    def test_the_package_as_its_page_shows_it(self):
        page = (repository / "sdk/python/README.md").read_text()
        part = page[page.index("## The package") : page.index("\n## ", page.index("## The package") + 1)]
        blocks = re.findall(r"```python\n(.*?)```", part, re.S)
        self.assertGreater(len(blocks), 3)
        names = {}
        with tempfile.TemporaryDirectory() as folder:
            before = os.getcwd()
            os.chdir(folder)
            self.addCleanup(os.chdir, before)
            os.symlink(repository / "configs", "configs")
            for block in blocks:
                exec(compile(block, "README.md", "exec"), names)
        self.assertEqual(names["samples"].shape, (4, 3, 8, 8))
        self.assertTrue(names["results"].rows)


if __name__ == "__main__":
    unittest.main()
