"""Each message remembers which branch after it was shown last, so that going back to it shows that one again."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("chat", "0031_exchange"),)

    operations = (
        migrations.AddField(
            model_name="message",
            name="shown_leaf",
            field=models.UUIDField(
                blank=True,
                editable=False,
                help_text="The end of the branch that was shown after this message when another one took its place.",
                null=True,
            ),
        ),
    )
