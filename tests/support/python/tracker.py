"""A tracker that keeps a text file of its own."""
import pathlib


class Tracker:
    def begin(self, run, from_step):
        self.file = pathlib.Path(run["folder"]) / "told.txt"
        lines = self.file.read_text().splitlines(True) if from_step and self.file.exists() else []
        self.file.write_text("".join(line for line in lines if int(line.split()[0]) <= from_step))

    def log(self, step, numbers):
        with self.file.open("a") as file:
            file.writelines(f"{step} {name} {value}\n" for name, value in numbers.items())
