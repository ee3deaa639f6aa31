"""`soar tasks`: tasks and the questions that tell whether they are done."""

from __future__ import annotations

from pathlib import Path


def questions(
    scene: str = "",
    tasks: tuple[str, ...] = (),
    questions: Path | None = None,
    language_model: str = "",
) -> None:
    """Show the yes/no question of each task, and the answers that mean done and feasible.

    The usual forms (put, remove, move left or right, open, close, fold, unfold) need no model. The questions of
    all other tasks come from the question file, or from a language model that writes them there; the file may be
    edited, and takes precedence.

    Examples:
        soar tasks questions --scene 3
        soar tasks questions --tasks "stack the cups" --questions q.yaml --language-model MODEL@https://HOST/v1#KEY

    Args:
        scene: 1 to 10, dev1 to dev12, or a YAML file.
        tasks: instructions in addition to those of the scene.
        questions: question file; without it, that of the scene. Written if a language model was asked.
        language_model: MODEL@URL of a chat endpoint, with "#VARIABLE" at the end if that environment variable holds
            the key.
    """
    import rich

    from soar.errors import ConfigError
    from soar.sim.scenes.catalog import load_scene
    from soar.tasks.question_file import tasks_from_instructions
    from soar.tasks.questions import present_question
    from soar.utils.progress import literal
    from soar.vlm.clients import chat

    loaded = load_scene(scene) if scene else None
    own = [t.instruction for t in loaded.tasks] if loaded else []
    if not own and not tasks:
        raise ConfigError("nothing to ask about; give --scene NAME or --tasks WORDS")
    file = questions or (loaded.questions if loaded else None) or None
    complete = chat.language_model(language_model) if language_model else None
    found = tasks_from_instructions([*own, *tasks], file, complete)
    for task in found:
        done, feasible = ("yes", "no") if task.success_answer else ("no", "yes")
        rich.print(f"[bold]{literal(task.instruction)}[/bold]\n  {literal(task.question.text)}")
        rich.print(f"  [dim]done:[/dim] {done}   [dim]feasible:[/dim] {feasible}")
    objects = dict.fromkeys(o for task in found for o in task.objects)
    if objects:
        rich.print("\nTo leave out tasks whose objects are missing:")
        rich.print("\n".join(f"  {literal(present_question(o).text)}" for o in objects))
