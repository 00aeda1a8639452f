"""The three tasks of the article this project starts from, with the model that ships with aigc. No network needed."""

import aigc

gen = aigc.Generator.default()
print(gen, "\n")

print("1. Five ways to go on from 'Hello, how are you?'\n")
for completion in gen.generate("Hello, how are you?", n=5, max_new_tokens=50, seed=0):
    text = " ".join(completion.text.split())
    print(f"   Hello, how are you? {text}\n")

# A title in 《》 on a line of its own asks the default model for a poem.
print("2. Five poems on 在寂静的夜晚 (in the quiet night)\n")
for completion in gen.generate("《在寂静的夜晚》\n", n=5, max_new_tokens=80, seed=0):
    for line in completion.text.replace("。", "。\n").split():
        print("   " + line)
    print()

print("3. A page for a reader who loves sports, technology and entertainment\n")
interests = ["sports", "technology", "entertainment"]
prompt = f"The young man cared for three things above all, {', '.join(interests[:-1])} and {interests[-1]}; and one day"
story = gen.generate(prompt, max_new_tokens=120, seed=2)[0]
print(f"   {prompt}{story.text}\n")

print(f"Each text can be written again by its seed: the last one by seed=[{story.seed}].")
